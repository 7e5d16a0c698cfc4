"""What is said where the host refuses: the whole path that was asked for, and what stands in its way.

Files are made relative to a folder that is open, and by descriptor: so the system's own words name a
part of the path, or a number below ``/proc/self/fd``, which nobody knows.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from planner.run.ports import HostRefused

__all__ = ["must_have_room", "refusal_of", "with_path"]

_MAKES = "create-"
_DESCRIPTOR = "/proc/self/fd/"
_DESCRIPTORS = re.compile(re.escape(_DESCRIPTOR) + r"\d+")


def refusal_of(instruction: str, path: Path, error: OSError) -> HostRefused:
    """An error of the system as the host says it: of the path, where it names no other file."""
    why = error.strerror or str(error)
    name = error.filename
    of_another = isinstance(name, str) and name.startswith("/") and _DESCRIPTOR not in name
    if of_another:
        return HostRefused(_code(error), f"{name}: {why}")
    if instruction.startswith(_MAKES) and error.errno in (errno.ENOENT, errno.ENOTDIR):
        folder = path.parent
        why = (
            f"no file can be made in this folder ({why})"
            if folder.is_dir()
            else f"there is no folder {folder}"
        )
    return HostRefused(_code(error), f"{path}: {why}")


def with_path(instruction: str, path: Path, refused: HostRefused) -> HostRefused:
    """A refusal with the path in the place of descriptors; of what makes a file, which has just one."""
    if not instruction.startswith(_MAKES) or _DESCRIPTOR not in refused.description:
        return refused
    words = _DESCRIPTORS.sub(lambda _: str(path), refused.description)
    return HostRefused(refused.code, words)


def must_have_room(path: Path, descriptor: int, needed_bytes: int, what: str) -> None:
    """Make sure that a file system has room for a file before anything begins.

    Args:
        path: The file.
        descriptor: The file, open.
        needed_bytes: What it takes at least.
        what: What needs that, in a few words.

    Raises:
        HostRefused: It has not (``no-room``).
    """
    room = os.fstatvfs(descriptor)
    free_bytes = room.f_bfree * room.f_frsize
    if free_bytes < needed_bytes:
        words = f"{what} needs {_mib(needed_bytes)} MiB, and its file system has {_mib(free_bytes)}"
        raise HostRefused("no-room", f"{path}: {words}")


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f}"


def _code(error: OSError) -> str:
    if isinstance(error, FileExistsError):
        return "file-exists"
    return "file-unwritable"
