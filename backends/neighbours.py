"""Which other images lie over one that is to be changed or removed: by the headers of those beside it.

No record says what somebody else has put over an image: a clone, or an overlay whose snapshot's record
was given up.  qcow2 images are looked for in the same folder, by the backing file that each names.
Nothing is opened that a header names, and QEMU is not asked.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

__all__ = ["lying_over"]

_MAGIC = 0x514649FB
_HEADER = struct.Struct(">IIQIIQIIQQIIQ")
"""Magic, version, backing file (offset, length), cluster bits, size, encryption, L1 table (length,
offset), refcount table (offset, clusters), snapshots (count, offset): qcow2's own order."""
_NAME_LIMIT_BYTES = 1023
_L1_LIMIT = 4 * 1024 * 1024

_Key = tuple[int, int]


@frozen
class _Header:
    """What is used of an image's header.

    Attributes:
        backing: The file that it lies over.
        empty: Whether it holds nothing of its own, so that it reads as what it lies over, always.
    """

    backing: Path
    empty: bool


def lying_over(overlay: Path, base: Path) -> Iterator[tuple[Path, Path]]:
    """Images that cannot do without the overlay, or without the base as it is; each with which.

    What an interrupted run left of a file that was being made lies over nothing, and an image that
    holds nothing of its own does not mind how the base changes.
    """
    own, below = _key(overlay), _key(base)
    for folder in dict.fromkeys((overlay.parent, base.parent)):
        for path in sorted(_files(folder)):
            unfinished = path.name.startswith(".") and path.name.endswith(".snapplan")
            header = None if unfinished or _key(path) == own else _header_of(path)
            found = None if header is None else _key(header.backing)
            if header is None or found is None:
                continue
            if found == own:
                yield path, overlay
            elif found == below and not header.empty:
                yield path, base


def _files(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [Path(each.path) for each in entries if each.is_file(follow_symlinks=False)]


def _key(path: Path) -> _Key | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _header_of(path: Path) -> _Header | None:
    """The header of a qcow2 image that lies over another; None: it is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return _read(descriptor, path.parent)
    except (OSError, struct.error, ValueError):
        return None
    finally:
        os.close(descriptor)


def _read(descriptor: int, folder: Path) -> _Header | None:
    (magic, _, name_at, name_bytes, _, _, _, l1_entries, l1_at, _, _, snapshots, _) = (
        _HEADER.unpack(os.pread(descriptor, _HEADER.size, 0))
    )
    if magic != _MAGIC or not 0 < name_bytes <= _NAME_LIMIT_BYTES:
        return None
    name = os.pread(descriptor, name_bytes, name_at)
    if b"\0" in name:
        return None
    table = os.pread(descriptor, min(l1_entries, _L1_LIMIT) * 8, l1_at)
    return _Header(folder / os.fsdecode(name), empty=not (snapshots or any(table)))
