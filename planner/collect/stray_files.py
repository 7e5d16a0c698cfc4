"""Files beside a VM's images that nobody needs or that no record explains.  Touches nothing.

A temporary file is left alone until nobody has written to it for a day: another snapplan may be making
it just now, and nothing in the file says which.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from planner.collect.unneeded import TEMPORARY_SUFFIXES, Orphan, OrphanKind

__all__ = ["sweep"]

_DAY_S = 24 * 3600
_STREAM_MAGIC = b"QEVM"
_QCOW2_MAGIC = b"QFI\xfb"
_OF_A_TEMPLATE = re.compile(r"\.template-[0-9a-f]{8}\.")
_HEADER_BYTES = 4096
_VMSTATE_IMAGE_BYTES = 2**20
"""The size of the disk in an image of machine state (`backends.vmstate_images`): nobody uses it."""
_LONGEST_PATH_BYTES = 1023


def sweep(
    folders: Iterable[Path], known: Iterable[str], own: Iterable[Path] = ()
) -> tuple[Orphan, ...]:
    """Look through folders, not into those below.

    Args:
        folders: Where a VM's images and the files of its snapshots lie.
        known: Absolute paths that a manifest has or a disk uses.
        own: Folders of the store, whose lock is held: what is temporary there is nobody's.
    """
    files = {str(Path(file)) for file in known}
    found = [orphan for folder in sorted(set(folders)) for orphan in _of_folder(folder, files)]
    for folder in sorted(set(own)):
        found += [_temporary(path) for path in _files(folder) if _is_temporary(path)]
    return tuple(found)


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
    except OSError:
        return []  # what cannot be looked into holds nothing that could be told


def _of_folder(folder: Path, known: set[str]) -> Iterator[Orphan]:
    for path in _files(folder):
        if _is_temporary(path):
            if path.name.endswith(TEMPORARY_SUFFIXES[0]) and _is_old(path):
                yield _temporary(path)
        elif str(path) not in known:
            what = _what_is(path, known)
            if what:
                message = f"{what}, and no manifest has it: look, and remove it by hand"
                kind = OrphanKind.FILE_UNRECORDED
                yield Orphan(kind, str(path), message, removable=False)


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(TEMPORARY_SUFFIXES)


def _temporary(path: Path) -> Orphan:
    message = "it was being written when a snapplan died"
    return Orphan(OrphanKind.FILE_TEMPORARY, str(path), message, removable=True)


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _DAY_S
    except OSError:
        return False


def _what_is(path: Path, known: set[str]) -> str:
    """What a file is, where it could be a snapshot's; else empty."""
    if _OF_A_TEMPLATE.search(path.name):
        return "it is a template's file"
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        return ""
    if header.startswith(_STREAM_MAGIC):
        return "it is a stream of machine state"
    if not header.startswith(_QCOW2_MAGIC):
        return ""
    holds, bytes_ = int.from_bytes(header[60:64], "big"), int.from_bytes(header[24:32], "big")
    if holds and bytes_ == _VMSTATE_IMAGE_BYTES:
        return "it is an image that holds snapshots and no disk, as machine state has of its own"
    at, size = int.from_bytes(header[8:16], "big"), int.from_bytes(header[16:20], "big")
    if not at or not 0 < size <= _LONGEST_PATH_BYTES or at + size > len(header):
        return ""
    backing = header[at : at + size].decode(errors="replace")
    return f"it is an overlay over {backing}" if str(path.parent / backing) in known else ""
