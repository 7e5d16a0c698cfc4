"""Small files that must survive: written as a whole or not at all, and on the disk when that is said.

Rules: folders 0700, files 0600 (they name what a guest holds); a file is made under a temporary name,
synced, put in its place, and its folder synced.  `OSError` is the caller's to translate: only the caller
knows what a failure means for the VM.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

__all__ = ["make_folder", "remove_file", "stamps", "sync_folder", "write_whole"]


def make_folder(folder: Path) -> None:
    """Make a folder (mode 0700) with its parents, lasting; one that is there stays as it is."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        sync_folder(each.parent)


def sync_folder(folder: Path) -> None:
    """Make names that were made or removed in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, text: str, *, lasting: bool = True) -> None:
    """Write a file of mode 0600; on an `OSError` what was there before is still there.

    Args:
        path: The file.
        text: All of it.
        lasting: Whether it must outlive a power cut; else what was there before may be there then.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
    if lasting:
        sync_folder(path.parent)


def remove_file(path: Path, *, lasting: bool = True) -> None:
    """Remove a file; one that is not there is no error.

    Args:
        path: The file.
        lasting: Whether it is to be gone after a power cut, too.
    """
    path.unlink(missing_ok=True)
    if lasting:
        sync_folder(path.parent)


def stamps(files: Iterable[str]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """What tells whether somebody wrote to files, or put others in their place, between two looks."""
    return tuple((file, _stamp(file)) for file in sorted(set(files)))


def _stamp(file: str) -> tuple[int, ...]:
    try:
        found = Path(file).stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
