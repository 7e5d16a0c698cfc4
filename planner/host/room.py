"""What a file system that is full is full of, as far as a run knows: its own image files, grown by it.

QEMU often says "Input/output error" where there was no room, and a failed snapshot leaves its image as
large as it grew: qcow2 uses that room for what is written next, and gives it to nobody else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

__all__ = ["allocated_bytes", "room_notes"]

_FULL_BYTES = 1024 * 1024
_BLOCK_BYTES = 512  # of st_blocks, whatever the file system


def allocated_bytes(files: Iterable[str]) -> dict[str, int]:
    """How much room each of these files takes, where it is one of this machine."""
    found = {}
    for file in files:
        try:
            found[file] = Path(file).stat().st_blocks * _BLOCK_BYTES
        except (OSError, ValueError):
            continue
    return found


def room_notes(files: Iterable[str], before: Mapping[str, int]) -> Iterator[str]:
    """What is to be said of the file systems of these files that are full; nothing where none is.

    Args:
        files: Images, and files that were to be made.
        before: `allocated_bytes` of before the run.
    """
    full: dict[int, list[str]] = {}
    for file in sorted(set(files)):
        device = _full_device(file)
        if device is not None:
            full.setdefault(device, []).append(file)
    for names in full.values():
        now = allocated_bytes(names)
        grown = {file: now[file] - before[file] for file in names if file in now and file in before}
        more = "".join(
            f"; {file} is {_kib(size)} larger than before, which the guest's next writes use up first, "
            "and `qemu-img convert` into another file gives back when the VM is off"
            for file, size in grown.items()
            if size > 0
        )
        yield (
            f"the file system of {Path(names[0]).parent} is full{more}; make room there: other files, "
            "snapshots that nobody needs (`snapplan list`, `snapplan delete`, `snapplan gc`), or a "
            "larger file system"
        )


def _full_device(file: str) -> int | None:
    """The file system of a file, or of its folder, where that is full; None: it is not, or unseen."""
    for place in (Path(file), Path(file).parent):
        try:
            room, device = os.statvfs(place), place.stat().st_dev
        except (OSError, ValueError):
            continue
        if not room.f_blocks:  # as /proc: it has no room to be full of
            return None
        return device if room.f_bavail * room.f_frsize < _FULL_BYTES else None
    return None


def _kib(size: int) -> str:
    return f"{size / 1024:.0f} KiB"
