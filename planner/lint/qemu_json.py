"""JSON as QEMU reads it: a string may stand between single quotes as well.

Logs of Python programs write a message as Python does, with ``True``, ``False`` and ``None``; that is
read too, where it is said to be one.  A key that stands twice is no JSON for QEMU, and none here.
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["first_object", "objects_in", "objects_with_lines", "qemu_object"]

_PYTHON = {"True": "true", "False": "false", "None": "null"}
_WORD = re.compile(r"[A-Za-z]+")
_LONGEST = 2**14
"""Characters of an object that is not quite JSON."""
_OBJECT = re.compile(r"\{\s*[\"']")
_BLANK = re.compile(r"[\s,]*")
_BARE_VARIABLE = re.compile(r"(?<=[:,\[\s])(\$\{\w+\}|\$\w+)(?=[\s,}\]])")


def qemu_object(text: str) -> dict[str, Any] | None:
    """The object that a text is, as QEMU would read it; None: it is none."""
    found = _decoded(_standard(text, python=False).strip(), 0)
    if found is None:
        return None
    value, end, whole = found
    return value if not whole[end:].strip() else None


def first_object(text: str, *, python: bool = False) -> dict[str, Any] | None:
    """The object that a text begins with, whatever follows it; None: it begins with none.

    Args:
        text: It begins with a brace.
        python: Whether a Python program has written it.
    """
    found = _decoded(_standard(text, python=python), 0)
    return None if found is None else found[0]


def objects_in(text: str) -> list[tuple[int, dict[str, Any]]] | None:
    """The objects of a JSON array, each with the line where it begins; None: it is no such array."""
    standard = _standard(text, python=False)
    begin, end = standard.find("["), standard.rfind("]")
    if begin < 0 or standard[:begin].strip() or standard[end + 1 :].strip():
        return None
    found = []
    place = _next(standard, begin + 1)
    while place < end:
        read = _decoded(standard, place)
        if read is None:
            return None
        value, after, _ = read
        found.append((standard.count("\n", 0, place) + 1, value))
        place = _next(standard, after)
    return found


def objects_with_lines(text: str) -> list[tuple[int, dict[str, Any]]]:
    """The objects that stand anywhere in a text, each with how many lines are before it.

    A shell's variable in the place of a number is read as a string of its name.
    """
    found, place, counted, line = [], 0, 0, 0
    while (match := _OBJECT.search(text, place)) is not None:
        place = match.start()
        line += text.count("\n", counted, place)
        counted, after = place, place + 1
        read = _decoded(text, place)
        if read is not None:
            found.append((line, read[0]))
            after = read[1]
        else:
            rest = text[place : place + _LONGEST]
            read = _decoded(_standard(rest, python=False), 0) or _decoded(_named(rest), 0)
            if read is not None:
                found.append((line, read[0]))
                after = place + _object_end(rest)
        place = after
    return found


def _named(text: str) -> str:
    return _BARE_VARIABLE.sub(r'"\1"', text)


def _object_end(text: str) -> int:
    """Where the object that a text begins with ends, by its braces."""
    depth = place = 0
    while place < len(text):
        if text[place] in "'\"":
            place = _string_end(text, place)
            continue
        depth += (text[place] == "{") - (text[place] == "}")
        place += 1
        if depth == 0:
            break
    return place


def _next(text: str, place: int) -> int:
    match = _BLANK.match(text, place)
    return place if match is None else match.end()


def _decoded(standard: str, place: int) -> tuple[dict[str, Any], int, str] | None:
    try:
        value, end = _DECODER.raw_decode(standard, place)
    except (ValueError, RecursionError):
        return None
    return (value, end, standard) if isinstance(value, dict) else None


def _once(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) < len(items):
        raise ValueError("a key stands twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def _standard(text: str, *, python: bool) -> str:
    """The same with double quotes only: as many lines, and nothing else changed."""
    if "'" not in text and not python:
        return text
    parts: list[str] = []
    place = 0
    while place < len(text):
        character = text[place]
        if character in "'\"":
            after = _string_end(text, place)
            parts.append(_double_quoted(text[place:after]))
        elif python and (match := _WORD.match(text, place)):
            after = match.end()
            parts.append(_PYTHON.get(match[0], match[0]))
        else:
            after = place + 1
            parts.append(character)
        place = after
    return "".join(parts)


def _string_end(text: str, place: int) -> int:
    """Where the string ends that begins there: behind its quote, or at the text's end."""
    quote, place = text[place], place + 1
    while place < len(text) and text[place] != quote:
        place += 2 if text[place] == "\\" else 1
    return min(place + 1, len(text))


def _double_quoted(string: str) -> str:
    if not string.startswith("'"):
        return string
    closed = len(string) > 1 and string.endswith("'")
    inner = string[1:-1] if closed else string[1:]
    inner = inner.replace("\\'", "'").replace('\\"', '"').replace('"', '\\"')
    return f'"{inner}"' if closed else f'"{inner}'
