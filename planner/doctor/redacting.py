r"""Takes out of a text what nobody should paste into an issue: passwords, keys, cookies, tokens.

QEMU spells an image out as a URL, or as options in JSON, and may repeat a password in both.  Paths, node
names and ids of secrets stay: without them a report says nothing.
"""

from __future__ import annotations

import re

__all__ = ["without_secrets"]

_LEFT_OUT = "(left out)"
_NAMES = r"[\w.-]*(?:password|passwd|passphrase|cookie|token|credential|secret|key)[\w.-]*"
_ID = re.compile(r"(?:key-secret|password-secret|cookie-secret|keyid|key-id)$", re.IGNORECASE)
"""These hold the id of one of QEMU's secrets, and no secret."""
_USER = re.compile(r"\b([a-z][a-z0-9+.-]*://)[^/\s\"'@]+@", re.IGNORECASE)
_QUERY = re.compile(r"\b([a-z][a-z0-9+.-]*://[^\s\"'?]*)\?[^\s\"']+", re.IGNORECASE)
_JSON = re.compile(rf'"({_NAMES})"(\s*:\s*)"(?:[^"\\]|\\.)*"', re.IGNORECASE)
_OPTION = re.compile(rf"(?<![\w.-])({_NAMES})=([^\s,:\"']+)", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """The same text, with what may be secret left out.

    Of a URL the user and the query go, of options in JSON or in ``NAME=VALUE`` the values whose names
    speak of a secret.
    """
    text = _USER.sub(r"\1", text)
    text = _QUERY.sub(rf"\1?{_LEFT_OUT}", text)
    text = _JSON.sub(_json, text)
    return _OPTION.sub(_option, text)


def _json(found: re.Match[str]) -> str:
    if _ID.search(found[1]):
        return found[0]
    return f'"{found[1]}"{found[2]}"{_LEFT_OUT}"'


def _option(found: re.Match[str]) -> str:
    return found[0] if _ID.search(found[1]) else f"{found[1]}={_LEFT_OUT}"
