"""Lines as they are typed into qmp-shell: ``snapshot-save job-id=j tag=t devices=["disk0"]``.

The rules are qmp-shell's own: words are parted by blanks outside of quotes and brackets; a value is a
number, true or false, JSON, or else text; ``a.b=c`` sets a member of ``a``; ``transaction(`` collects
the commands up to ``)`` as actions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from attrs import define, field

__all__ = ["Shell", "greeting", "looks_typed", "without_prompt"]

_PROMPT = re.compile(r"^\s*(\(QEMU\)|TRANS>)\s?")
_GREETING = re.compile(r"Welcome to the QMP low-level shell!|Connected to QEMU (?P<version>[\d.]+)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_KEY = re.compile(r"[A-Za-z0-9_.-]+")
_OPEN, _CLOSE = "[{", "]}"
_BEGIN, _END = "transaction(", ")"


def without_prompt(line: str) -> str:
    """The line as it was typed."""
    return _PROMPT.sub("", line, count=1).strip()


def greeting(line: str) -> str | None:
    """The version that qmp-shell names when it connects, or nothing; None: this is no greeting."""
    match = _GREETING.fullmatch(line.strip())
    return None if match is None else match["version"] or ""


def looks_typed(line: str) -> bool:
    """Whether a line can be one that was typed: a command's name, then ``key=value`` words."""
    words = _words(without_prompt(line))
    if not words:
        return False
    inner = [word for word in words if word not in (_BEGIN, _END)]
    if not inner:
        return True
    name, *settings = inner
    return bool(_NAME.fullmatch(name)) and all(
        _KEY.fullmatch(word.partition("=")[0]) and "=" in word for word in settings
    )


@define
class Shell:
    """Reads typed lines one after the other; a transaction spans several.

    Attributes:
        begun: The line at which an open transaction began; 0: none is open.
        actions: What it holds so far.
    """

    begun: int = 0
    actions: list[dict[str, object]] = field(factory=list)

    def take(self, number: int, line: str) -> tuple[int, str, dict[str, object]] | None:
        """Read one line.

        Returns:
            Line, command and arguments, once a command is complete.

        Raises:
            ValueError: The line is none of qmp-shell's.
        """
        words = _words(without_prompt(line))
        if words and words[0] == _BEGIN and not self.begun:
            self.begun = number
            words = words[1:]
        ends = bool(self.begun and words and words[-1] == _END)
        if ends:
            words = words[:-1]
        command = _command(words) if words else None
        if not self.begun:
            return None if command is None else (number, *command)
        if command is not None:
            self.actions.append({"type": command[0], "data": command[1]})
        return self._finished() if ends else None

    def _finished(self) -> tuple[int, str, dict[str, object]]:
        number, actions = self.begun, self.actions
        self.begun, self.actions = 0, []
        return number, "transaction", {"actions": actions}


def _command(words: list[str]) -> tuple[str, dict[str, object]]:
    name, *settings = words
    arguments: dict[str, object] = {}
    for word in settings:
        key, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} is no key=value")
        _put(arguments, key.split("."), _value(text))
    return name, arguments


def _put(target: dict[str, object], path: list[str], value: object) -> None:
    *above, last = path
    for name in above:
        inner = target.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ValueError(f"{name} is no object here")
        target = inner
    target[last] = value


def _value(text: str) -> object:
    if re.fullmatch(r"-?\d+", text):
        return int(text[:20])
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text[:1] in ("{", "["):
        return json.loads(text if '"' in text else text.replace("'", '"'))
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def _words(line: str) -> list[str]:
    return list(_split(line))


def _split(line: str) -> Iterator[str]:
    word, quote, depth = "", "", 0
    for character in line:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        depth += (not quote) * ((character in _OPEN) - (character in _CLOSE))
        if character.isspace() and not quote and depth <= 0:
            if word:
                yield word
            word = ""
        else:
            word += character
    if word:
        yield word
