"""The guests as they were assembled: `script/guests` makes each `.bin` from its `.asm`."""

from __future__ import annotations

import pkgutil

__all__ = ["assembled"]


def assembled(name: str) -> bytes:
    """The first sectors of a guest's disk, also from a wheel that was not unpacked."""
    content = pkgutil.get_data(__package__, f"{name}.bin")
    if content is None:
        raise FileNotFoundError(f"{name}.bin")
    return content
