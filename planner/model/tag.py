"""What a snapshot's tag may be.

QEMU takes almost anything and then cannot find it again: it cuts a tag at 255 bytes without a word
(fact 8), and its qcow2 driver takes a tag of digits alone for a snapshot *id* when it reverts, so
that another snapshot is loaded (fact 9).  Such tags are refused here, before anything is planned.
"""

from __future__ import annotations

from planner.errors import Problem

__all__ = ["TAG_LIMIT_BYTES", "tag_problems"]

TAG_LIMIT_BYTES = 255
"""Longest tag that QEMU keeps whole, in bytes of UTF-8 (fact 8)."""


def tag_problems(tag: str) -> tuple[Problem, ...]:
    """Say everything that is wrong with a tag; an empty answer means that it is fine."""
    if not tag.strip():
        what = "is nothing but spaces" if tag else "is empty"
        return (Problem("tag-empty", "tag", f"the tag {what}", "name the snapshot"),)
    problems = []
    try:
        length = len(tag.encode())
    except UnicodeEncodeError:
        return (Problem("tag-not-text", "tag", "the tag is no valid Unicode text", "retype it"),)
    if length > TAG_LIMIT_BYTES:
        problems.append(
            Problem(
                "tag-too-long",
                "tag",
                f"the tag has {length} bytes; QEMU silently cuts it at {TAG_LIMIT_BYTES} (fact 8)",
                f"use at most {TAG_LIMIT_BYTES} bytes",
            )
        )
    if any(not character.isprintable() for character in tag):
        problems.append(
            Problem(
                "tag-control-character",
                "tag",
                "the tag holds a control character or another one that cannot be shown",
                "use printable characters only",
            )
        )
    if tag.isdigit():
        problems.append(
            Problem(
                "tag-all-digits",
                "tag",
                "QEMU would take a tag of digits alone for a snapshot id when it loads (fact 9)",
                "put a letter into it",
            )
        )
    return tuple(problems)
