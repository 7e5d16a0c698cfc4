"""Who else has an image open: QEMU's own locks on its bytes, looked at and never taken.

QEMU holds a shared lock on byte 100+n of an image for each permission n that it uses, and on byte 200+n
for each that it grants to nobody else; 1 is the permission to write.  Each opened file holds its own
(open file description locks), and a killed process's go with it.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

__all__ = ["is_open", "openings_that_forbid_writing"]

_LOCKS = Path("/proc/locks")
_FIRST_BYTE, _BYTES = 100, 200
_WRITING_FORBIDDEN_BYTE = 201
_FLOCK = "@hhqqi4x"
_MINOR_DEVICE_FIELDS = 3


def is_open(descriptor: int) -> bool:
    """Whether some QEMU, or a qemu-img, has a file open, besides this opening of it."""
    question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _FIRST_BYTE, _BYTES, 0)
    answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, question)
    kind: int = struct.unpack(_FLOCK, answer)[0]
    return kind != fcntl.F_UNLCK


def openings_that_forbid_writing(found: os.stat_result, locks: Path = _LOCKS) -> int:
    """How many openings of a file by any QEMU forbid everybody else to write to it.

    0 as well where the kernel does not tell, or the file system shows another device than it locks.
    """
    file = (os.major(found.st_dev), os.minor(found.st_dev), found.st_ino)
    try:
        lines = locks.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return 0
    return sum(_forbids_writing(line.split(), file) for line in lines)


def _forbids_writing(words: list[str], file: tuple[int, int, int]) -> bool:
    """Whether a line of /proc/locks is one: ``1: OFDLCK ADVISORY READ -1 08:02:1234 201 201``."""
    if len(words) < 8 or words[1] != "OFDLCK":
        return False
    parts = words[5].split(":")
    try:
        if len(parts) != _MINOR_DEVICE_FIELDS:
            return False
        place = (int(parts[0], 16), int(parts[1], 16), int(parts[2]))
        last = _WRITING_FORBIDDEN_BYTE if words[7] == "EOF" else int(words[7])
        return place == file and int(words[6]) <= _WRITING_FORBIDDEN_BYTE <= last
    except ValueError:
        return False
