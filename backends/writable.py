"""Whether an image can be written to, seen before anything is: rights, read-only file systems, locks."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from backends.by_descriptor import open_file
from backends.locks import is_open
from planner.run.ports import HostRefused

__all__ = ["must_be_unused", "must_be_writable"]


def must_be_writable(path: Path, *, by_us: bool = True) -> None:
    """Raise where a file cannot be written to; opening it for that changes nothing of it.

    Args:
        path: The file.
        by_us: Whether it is we who write, and not a QEMU that may be another user.

    Raises:
        HostRefused: It cannot be (``file-unwritable``).
    """
    try:
        os.close(open_file(path, os.O_WRONLY))
    except OSError as error:
        if not by_us and error.errno == errno.EACCES:
            return
        raise HostRefused("file-unwritable", f"{path}: {error.strerror}") from error


def must_be_unused(path: Path) -> None:
    """Raise where a QEMU has a file open, be it for reading only.

    Raises:
        HostRefused: One has (``image-in-use``).
    """
    descriptor = open_file(path)
    try:
        if is_open(descriptor):
            raise HostRefused("image-in-use", f"{path} is open in a QEMU")
    finally:
        os.close(descriptor)
