r"""Text that others named, made safe to show: what a terminal would obey, or a reader would not see.

A snapshot's name, a file's, a bitmap's, QEMU's words and the agent's may hold escape sequences, line
breaks, and characters that turn the direction of writing round.  Whatever is not printable is shown as
JSON escapes it (``\u001b``), so that JSON in which it is escaped is the same JSON still.

Two places see to it.  `guard` is below all output, and lets nothing of that kind through but the line
breaks of a text of several lines.  `as_lines` is where those are made: what it joins are lines, so a
line break inside of one is somebody else's, and is shown too.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Lines", "as_lines", "guard", "visible"]

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_OF_TEXT = "\n\t"


def visible(text: str) -> str:
    """A name or a sentence of others, on one line; a printable one is as it was."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    short = _SHORT.get(character)
    if short is not None:
        return short
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


class Lines(str):
    """Whole lines that are safe to show."""

    __slots__ = ()


def as_lines(lines: Iterable[str]) -> Lines:
    """Join lines; what is `Lines` already may be several, everything else is one."""
    return Lines("\n".join(each if isinstance(each, Lines) else visible(each) for each in lines))


def guard(text: str, *, ascii_only: bool = False) -> str:
    """What of a text may be written to a terminal, a pipe or a file.

    Line breaks and tabs stay: a text has them.
    """
    if text.translate(_AS_SPACES).isprintable() and not (ascii_only and not text.isascii()):
        return text
    return "".join(each if _may_stay(each, ascii_only) else _escaped(each) for each in text)


def _may_stay(character: str, ascii_only: bool) -> bool:  # noqa: FBT001 - called for each character
    if character in _OF_TEXT:
        return True
    return character.isprintable() and (character.isascii() or not ascii_only)


_AS_SPACES = str.maketrans(dict.fromkeys(_OF_TEXT, " "))
