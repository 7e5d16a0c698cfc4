"""Whether somebody holds a lock on an image: asked of the kernel, and no lock is taken for it.

QEMU and qemu-img hold byte-range locks (OFD locks) on an image for as long as they have it open and
active.  They are seen from every PID and mount namespace, and over network file systems that carry
locks.  A QEMU whose nodes are inactive (after `migrate`) holds none, though it has the image open.
"""

from __future__ import annotations

import fcntl
import os
import struct

__all__ = ["is_locked"]

_FLOCK = struct.Struct("@hhqqi4x")  # l_type, l_whence, l_start, l_len, l_pid


def is_locked(file: str) -> bool | None:
    """Whether another program holds a lock on a file; None: that cannot be told."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        return None
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        told = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
    except OSError:
        return None
    finally:
        # Closing it releases no lock: OFD locks belong to another open file, and we hold none.
        os.close(descriptor)
    return bool(_FLOCK.unpack(told)[0] != fcntl.F_UNLCK)
