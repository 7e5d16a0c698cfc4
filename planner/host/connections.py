"""Who is at the other end of a process's connection: which process serves it a disk.

From /proc and sock_diag(7), so of this machine and of processes whose descriptors we may see only.
The kernel knows both ends of a connection, whatever the socket's path is called on either side, and
whether or not the file is still there.

Rules: what cannot be seen is no answer, never a guess.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from planner.host.processes import program_of, sockets_of
from planner.host.tcp_sockets import TcpSocket, connected_tcp_sockets
from planner.host.unix_sockets import UnixSocket, connected_unix_sockets
from planner.model.peripherals import UNIX

__all__ = ["OtherEnd", "other_end", "passes_on"]

_PROC = Path("/proc")
_MASK = 0xFFFFFFFF
"""What sock_diag(7) tells of an inode."""
_NONE = frozenset[int]()


@frozen(order=True)
class OtherEnd:
    """A process at the other end.

    Attributes:
        pid: Its id.
        name: What the kernel calls it; empty: it has ended just now.
    """

    pid: int
    name: str = ""

    @property
    def words(self) -> str:
        """For a person."""
        return f"{self.name or 'process'} {self.pid}"


def other_end(pid: int, address: str) -> tuple[OtherEnd, ...]:
    """The processes that serve a connection of this one; none: that cannot be seen.

    Args:
        pid: The client: a QEMU.
        address: Where it is connected, as it says itself: ``unix:PATH`` or ``HOST:PORT``.
    """
    sockets = _sockets(pid)
    if not sockets:
        return ()
    if address.startswith(UNIX):
        inodes = set(_served_unix(pid, sockets, address.removeprefix(UNIX)))
    else:
        port = address.rpartition(":")[2]
        inodes = set(_served_tcp(pid, sockets, int(port))) if port.isdecimal() else set()
    return tuple(
        sorted(OtherEnd(each, program_of(each)) for each in _owners(inodes) if each != pid)
    )


def passes_on(pid: int, to: int) -> bool:
    """Whether a process may be a relay to another one; True also where that cannot be seen.

    Args:
        pid: What a client is connected to.
        to: What may be behind it.
    """
    mine, theirs = _sockets(pid), _sockets(to)
    if mine is None or theirs is None:
        return True
    if any(row.inode in mine for row in _tcp(pid)):
        return True  # where that leads is not known here
    try:
        return any(each.inode in mine and each.peer in theirs for each in connected_unix_sockets())
    except (OSError, struct.error):
        return True


def _served_unix(pid: int, sockets: Collection[int], path: str) -> Iterator[int]:
    """Inodes of what a process's connections to a path were accepted as."""
    found = _seen_by(pid, path)
    try:
        connected = list(connected_unix_sockets())
    except (OSError, struct.error):
        return
    for each in connected:
        if each.peer in sockets and not each.is_shut and _is_at(each, found, path):
            yield each.inode


def _is_at(socket: UnixSocket, found: os.stat_result | None, path: str) -> bool:
    """Whether a socket is bound to a file; by its name where the file is not there any more."""
    return socket.name == path if found is None else socket.is_at(found)


def _seen_by(pid: int, path: str) -> os.stat_result | None:
    """The file at a path as a process has it, which may have another root than we."""
    folder = _PROC / str(pid) / ("root" if path.startswith("/") else "cwd")
    with suppress(OSError, ValueError):
        return (folder / path.lstrip("/")).stat()
    return None


def _served_tcp(pid: int, sockets: Collection[int], port: int) -> Iterator[int]:
    connected = list(_tcp(pid))
    mine = {
        (row.there, row.here)
        for row in connected
        if row.inode in sockets and row.there_port == port
    }
    return (row.inode for row in connected if (row.here, row.there) in mine)


def _tcp(pid: int) -> Iterator[TcpSocket]:
    return connected_tcp_sockets(str(pid))


def _owners(inodes: Collection[int]) -> Iterator[int]:
    if inodes:
        for folder in _PROC.glob("[0-9]*"):
            pid = int(folder.name)
            if not (_sockets(pid) or _NONE).isdisjoint(inodes):
                yield pid


def _sockets(pid: int) -> frozenset[int] | None:
    found = sockets_of(pid)
    return None if found is None else frozenset(each & _MASK for each in found)
