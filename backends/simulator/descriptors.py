"""A client's socket that keeps the descriptors which come along (SCM_RIGHTS), as QEMU does for `getfd`.

Rules: descriptors wait here until a `getfd` takes one; those that nobody took are closed with the
connection.  The simulator writes no streams, so a descriptor that was taken is closed at once: what
counts is that the client sent one.
"""

from __future__ import annotations

import array
import os
import socket
import stat
from collections import deque
from enum import Enum

__all__ = ["DescriptorSocket", "TakenDescriptor"]

_MOST_DESCRIPTORS = 16  # QEMU takes as many with one message


class TakenDescriptor(Enum):
    """What a descriptor was of that a `getfd` took."""

    NOTHING = "nothing"
    FILE = "file"
    SOCKET = "socket"


class DescriptorSocket(socket.socket):
    """An accepted connection; takes over the descriptor of the socket it is made from."""

    def __init__(self, accepted: socket.socket) -> None:
        family, kind, protocol = accepted.family, accepted.type, accepted.proto
        super().__init__(family, kind, protocol, fileno=accepted.detach())
        self.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        self._waiting: deque[int] = deque()

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """As `socket.recv`; descriptors that come with the data are kept."""
        if self.family != socket.AF_UNIX:
            return super().recv(bufsize, flags)
        space = socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)
        data, ancillary, _, _ = self.recvmsg(bufsize, space, flags | socket.MSG_CMSG_CLOEXEC)
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
                self._waiting.extend(numbers)
        return data

    def take_descriptor(self) -> TakenDescriptor:
        """Take the oldest descriptor that waits, and close it; what it was of."""
        if not self._waiting:
            return TakenDescriptor.NOTHING
        descriptor = self._waiting.popleft()
        mode = os.fstat(descriptor).st_mode
        os.close(descriptor)
        return TakenDescriptor.SOCKET if stat.S_ISSOCK(mode) else TakenDescriptor.FILE

    def close(self) -> None:
        """Close the connection and what nobody took."""
        while self.take_descriptor() is not TakenDescriptor.NOTHING:
            pass
        super().close()
