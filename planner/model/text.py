"""YAML and JSON text into plain values, with a line for every mapping key, and nothing lost.

Rules: a key that stands twice is reported, not overwritten; anchors, aliases and tags are refused
(a request needs none, and they can make a small file large); nesting and size are bounded.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import field, frozen

from planner.errors import BadInput, Problem

__all__ = [
    "LIMIT_DEPTH",
    "Document",
    "first_line",
    "json_object",
    "key_twice",
    "read_json",
    "read_text",
    "too_deep",
    "unreadable",
]

_LIMIT_CHARACTERS = 4_000_000
LIMIT_DEPTH = 40


@frozen
class Document:
    """Plain values and what was noticed while they were read.

    Attributes:
        value: Dictionaries, lists and scalars.
        problems: Keys that stand twice.
        lines: The line of each mapping key, by its path from the top.
    """

    value: object
    problems: tuple[Problem, ...] = ()
    lines: dict[tuple[str, ...], int] = field(factory=dict, eq=False)


def read_text(text: str, source: str) -> Document:
    """Read YAML or JSON (which is told by its first character).

    Args:
        text: The file's contents.
        source: The file's name, for messages.

    Raises:
        BadInput: The text is neither, or is too large, or nests too deeply.
    """
    if len(text) > _LIMIT_CHARACTERS:
        raise unreadable(source, f"it is longer than {_LIMIT_CHARACTERS} characters")
    if text.lstrip()[:1] in ("{", "["):
        return read_json(text, source)
    from planner.model.yaml_text import read_yaml  # noqa: PLC0415 - most texts are JSON

    return read_yaml(text, source)


def read_json(text: str, source: str) -> Document:
    """Read JSON, reporting keys that stand twice; see `read_text`."""
    twice: list[Problem] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in items:
            if key in result:
                twice.append(key_twice(key, ""))
            result[key] = value
        return result

    def refuse_constant(name: str) -> object:
        raise ValueError(f"{name} is no JSON")

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise unreadable(source, first_line(error)) from error
    return Document(value, tuple(twice))


def json_object(text: str | bytes) -> dict[str, Any] | None:
    """The JSON object that a text of somebody else is; None: it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def key_twice(key: str, where: str) -> Problem:
    """The problem of a key that stands twice in one mapping."""
    return Problem(
        "key-twice", key, f"the key stands twice in one mapping{where}", "keep one of the two"
    )


def unreadable(source: str, why: str) -> BadInput:
    """The error for a text that is neither YAML nor JSON, or no text of ours."""
    problem = Problem("text-unreadable", source, why)
    return BadInput(f"{source} cannot be read: {why}", problems=(problem,), code=problem.code)


def too_deep(source: str) -> BadInput:
    """The error for a text that nests too deeply."""
    return unreadable(source, f"it nests deeper than {LIMIT_DEPTH} levels")


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
