"""Where a snapshot may make new files, as far as that shows without looking at the disk."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from planner.errors import Problem
from planner.model.facts import Facts
from planner.program.resolution import temporary_path

__all__ = [
    "images_of",
    "made_names",
    "one_spelling",
    "path_problems",
]

_PATH_LIMIT_BYTES = 4000
"""The kernel's limit less what a temporary name in the same folder adds."""
_NAME_LIMIT_BYTES = 240
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
"""How QEMU tells a protocol from a path: `nbd://…`, `nbd:…`, `json:…`."""


def images_of(facts: Facts) -> dict[str, list[str]]:
    """The image files of a VM, each with the disks that read it."""
    images: dict[str, list[str]] = {}
    for disk in facts.disks:
        for path in {disk.filename, *(layer.filename for layer in disk.backing)}:
            images.setdefault(path, []).append(disk.name)
    return images


def one_spelling(path: str) -> str:
    """A path without what means nothing in it: ``//`` and ``/./``; ``..`` may lead through a link."""
    return re.sub(r"/(\.?/)+", "/", path)


def made_names(path: str) -> tuple[str, str]:
    """The names that a new file has, in one spelling: its own, and the temporary one before."""
    name = one_spelling(path)
    return name, temporary_path(name)


def path_problems(user: str, path: str, images: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """Why no new file can be made at a path, as far as that shows without looking at the disk.

    Args:
        user: What the file is for.
        path: Where it is to be.
        images: Image files that are there, each with the disks that read it.
    """
    name = path.rpartition("/")[2]
    if _ADDRESS.match(path):
        yield Problem(
            "path-not-a-file",
            user,
            f"{path[:80]!r} is an address that another program serves; a part's file is made here, has "
            "its name only once it is whole, and is told from others by its digest, its times and its "
            "inode, none of which an address has",
            "write the path of a file; once it is made, `qemu-img convert -n` sends it to an address, "
            "and `qemu-nbd --read-only` serves it",
        )
    elif not path.startswith("/") or not name or name in (".", ".."):
        yield Problem(
            "path-not-absolute",
            user,
            f"{path[:80]!r} is no absolute path of a file; QEMU's working folder is not ours",
            "write it from / on",
        )
    if len(path.encode()) > _PATH_LIMIT_BYTES or len(name.encode()) > _NAME_LIMIT_BYTES:
        yield Problem("path-too-long", user, "no temporary file fits beside it", "choose a shorter")
    for disk in images.get(one_spelling(path), images.get(path, ())):
        yield Problem("path-in-use", user, f"{path} is an image of {disk}", "change it")
