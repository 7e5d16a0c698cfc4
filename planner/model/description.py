"""What may be said of a snapshot: text for people, which is recorded and shown."""

from __future__ import annotations

from planner.errors import Problem

__all__ = ["DESCRIPTION_LIMIT_BYTES", "description_problems"]

DESCRIPTION_LIMIT_BYTES = 4096
"""Longest description, in bytes of UTF-8: some screens of text, and no place for a file."""


def description_problems(description: str) -> tuple[Problem, ...]:
    """Say everything that is wrong with a description; an empty one is fine."""
    problems = []
    length = len(description.encode("utf-8", "surrogatepass"))
    if length > DESCRIPTION_LIMIT_BYTES:
        words = f"the description has {length} bytes of UTF-8"
        remedy = f"use at most {DESCRIPTION_LIMIT_BYTES}"
        problems.append(Problem("description-too-long", "description", words, remedy))
    if not all(character.isprintable() or character == "\n" for character in description):
        words = "the description holds a control character or another one that cannot be shown"
        remedy = "use printable characters, spaces and line breaks only"
        problems.append(Problem("description-control-character", "description", words, remedy))
    return tuple(problems)
