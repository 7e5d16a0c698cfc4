"""How a disk is made what it was, for a fresh QEMU that goes back to a snapshot."""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum

from attrs import frozen

__all__ = [
    "LOSING",
    "Readied",
    "RestoredPlace",
    "Restoring",
    "first_restored_file",
    "free_name",
    "made_beside",
]


class Readied(StrEnum):
    """How a disk is made what it was."""

    NEW_OVERLAY = "new-overlay"
    """A new overlay on the frozen image."""
    REVERT = "revert"
    """The image is reverted to its snapshot; what it holds now is lost."""
    CONVERT = "convert"
    """What the snapshot holds is written to a new image."""
    COPY = "copy"
    """The image is copied with all its snapshots."""
    AS_IT_IS = "as-it-is"
    """Nothing beforehand: `snapshot-load` reverts it in the new QEMU; what it holds now is lost."""


LOSING = (Readied.REVERT, Readied.AS_IT_IS)
"""Where what the disk holds now is lost."""


@frozen
class Restoring:
    """What a restore depends on, beside the part.

    Attributes:
        copies: Folder for copies of images that would else be reverted; empty: they are reverted.
        taken: Paths at which there is something, or will be.
        loads: Whether `snapshot-load` reads the machine state, and reverts the disks itself.
        number: Which restore of the snapshot it is.
    """

    copies: str
    taken: Collection[str]
    loads: bool
    number: int = 1


@frozen
class RestoredPlace:
    """Where a disk is restored.

    Attributes:
        how: How it is made what it was.
        file: What the new QEMU opens.
        format: Its format.
    """

    how: Readied
    file: str
    format: str


def free_name(folder: str, name: str, taken: Collection[str], number: int = 1) -> str:
    """A path in a folder at which there is nothing, by a number in the name, from this one on.

    A restore has one number; of two images of one name, copied to one folder, one takes the next.
    """
    before, after = _around_number(name)
    while f"{folder}/{before}{number}{after}" in taken:
        number += 1
    return f"{folder}/{before}{number}{after}"


def first_restored_file(overlay_file: str) -> str:
    """Where the first restore of a snapshot makes its overlay, unless something is there."""
    folder, _, name = overlay_file.rpartition("/")
    return free_name(folder, name, ())


def _around_number(name: str) -> tuple[str, str]:
    """What stands before and after the number in the names that `free_name` makes."""
    stem, dot, suffix = name.rpartition(".")
    if not dot or not stem:
        stem, suffix = name, "qcow2"
    stem = re.sub(r"\.restored-\d+$", "", stem)  # of an overlay that was promoted
    return f"{stem}.restored-", f".{suffix}"


def made_beside(file: str, taken: Collection[str]) -> tuple[str, ...]:
    """Those of the paths that restores made beside a file, in order: named by `free_name` after it."""
    folder, _, name = file.rpartition("/")
    before, after = _around_number(name)
    pattern = re.compile(re.escape(f"{folder}/{before}") + r"\d+" + re.escape(after))
    return tuple(path for path in sorted(taken) if pattern.fullmatch(path))
