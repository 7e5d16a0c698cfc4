"""When a file was made: what tells it from a later one that was given its number (`statx(2)`)."""

from __future__ import annotations

import ctypes
import os
import struct

__all__ = ["born_ns"]

_AT_FDCWD = -100
_BTIME = 0x800
_SIZE = 256
_MASK_AT, _BTIME_AT = 0, 80
_NS_PER_S = 1_000_000_000


def born_ns(path: str) -> int:
    """When a file was made, in nanoseconds since the epoch; 0: its file system does not say.

    A file system gives the number (inode) of a file that is gone to the next one that is made, often at
    once.  Number and birth together mean one file; they stay when it is moved.
    """
    statx = getattr(ctypes.CDLL(None), "statx", None)
    if statx is None:
        return 0
    held = ctypes.create_string_buffer(_SIZE)
    if statx(_AT_FDCWD, os.fsencode(path), 0, _BTIME, held) != 0:
        return 0
    (mask,) = struct.unpack_from("=I", held, _MASK_AT)
    seconds, nanoseconds = struct.unpack_from("=qI", held, _BTIME_AT)
    return seconds * _NS_PER_S + nanoseconds if mask & _BTIME else 0
