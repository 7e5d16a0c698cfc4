"""What a qcow2 image names as the image under it, read from its header.

Whoever gives QEMU a whole chain (libvirt does) may give another one than the headers name, and QEMU does
not say so.  A QEMU that is given only the upper image follows the header.
"""

from __future__ import annotations

import os
import struct
from itertools import pairwise
from pathlib import Path

from planner.model.facts import Disk

__all__ = ["header_differs"]

_HEAD = struct.Struct(">4sIQI")
_MAGIC = b"QFI\xfb"
_LONGEST_BYTES = 1023


def header_differs(disk: Disk) -> str:
    """What a header of a disk's chain names, where that is not what QEMU has open; else empty.

    Empty as well where it cannot be read, or is no name of a file.
    """
    chain = [(disk.filename, disk.driver), *((each.filename, each.driver) for each in disk.backing)]
    for (upper, driver), (lower, _) in pairwise(chain):
        if driver == "qcow2" and upper.startswith("/") and lower.startswith("/"):
            named = _named_below(upper)
            if named and not _is_one(named, lower):
                return named
    return ""


def _named_below(image: str) -> str:
    try:
        with Path(image).open("rb") as file:
            magic, _, at, length = _HEAD.unpack(file.read(_HEAD.size))
            if magic != _MAGIC or not at or length > _LONGEST_BYTES:
                return ""
            file.seek(at)
            name = os.fsdecode(file.read(length))
    except (OSError, struct.error):
        return ""
    if ":" in name.partition("/")[0]:
        return ""  # json:…, nbd:…
    return os.path.normpath(Path(image).parent / name)


def _is_one(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return one == other
