"""Whether a QMP socket serves another client: QEMU greets one a socket, and the next hears nothing.

A QEMU that is slow, or hangs, has accepted nobody, and the kernel lists accepted sockets only
(`planner.host.unix_sockets`).  A client that has gone holds nothing, also where a busy QEMU has not
noticed that yet: the kernel has shut its side of the connection down.  Our own connection is left out: a
busy QEMU may have accepted it a good while before it greets.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from planner.host.tcp_sockets import connected_tcp_sockets
from planner.host.unix_sockets import connected_unix_sockets

__all__ = ["serves_somebody", "serves_somebody_over_tcp"]


def serves_somebody(path: str, but: socket.socket | None = None) -> bool:
    """Whether a server on a unix socket has accepted a client; False also where nobody can tell.

    Args:
        path: Of the socket's file.
        but: A connection that does not count: ours.
    """
    try:
        found = Path(path).stat()
        ours = 0 if but is None else os.fstat(but.fileno()).st_ino & 0xFFFFFFFF
        return any(
            each.is_at(found) and not each.is_shut and (not ours or each.peer != ours)
            for each in connected_unix_sockets()
        )
    except (OSError, ValueError, struct.error):
        return False


def serves_somebody_over_tcp(connection: socket.socket) -> bool:
    """Whether the TCP server at the other end serves another one, where that is on this machine.

    Args:
        connection: Ours.
    """
    try:
        here, there = connection.getsockname(), connection.getpeername()
        if here[0] != there[0]:
            return False
        return any(_accepted_at(there[1], but=here[1]))
    except OSError:
        return False


def _accepted_at(port: int, but: int) -> Iterator[bool]:
    """For each TCP connection to a local port, but from one, whether it was accepted."""
    for each in connected_tcp_sockets():
        if each.here_port == port and each.there_port != but:
            yield each.inode != 0
