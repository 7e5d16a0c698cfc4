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

from planner.host.processes import program_of
from planner.host.unix_sockets import UnixSocket, connected_unix_sockets

__all__ = ["OtherEnd", "UNIX", "other_end", "passes_on"]

UNIX = "unix:"
"""What the address of a unix socket begins with; another address is ``HOST:PORT``."""

_PROC = Path("/proc")
_MASK = 0xFFFFFFFF
_TCP_ESTABLISHED = "01"
_MAPPED = "0000000000000000FFFF0000"
"""What an IPv4 address in /proc/net/tcp6 begins with."""
_LINK = "socket:["
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


@frozen
class _Tcp:
    """A connection of /proc/net/tcp: both ends in its own spelling."""

    here: str
    there: str
    inode: int


def _served_tcp(pid: int, sockets: Collection[int], port: int) -> Iterator[int]:
    connected = list(_tcp(pid))
    mine = {
        (row.there, row.here) for row in connected if row.inode in sockets and _port(row) == port
    }
    return (row.inode for row in connected if (row.here, row.there) in mine)


def _port(row: _Tcp) -> int:
    return int(row.there.rpartition(":")[2], 16)


def _tcp(pid: int) -> Iterator[_Tcp]:
    """The connections in the network namespace of a process."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError, ValueError, IndexError):
            text = (_PROC / str(pid) / "net" / table).read_text(encoding="ascii")
            for words in (line.split() for line in text.splitlines()[1:]):
                if words[3] == _TCP_ESTABLISHED:
                    here, there = (word.removeprefix(_MAPPED) for word in words[1:3])
                    yield _Tcp(here, there, int(words[9]) & _MASK)


def _owners(inodes: Collection[int]) -> Iterator[int]:
    if inodes:
        for folder in _PROC.glob("[0-9]*"):
            pid = int(folder.name)
            if not (_sockets(pid) or _NONE).isdisjoint(inodes):
                yield pid


def _sockets(pid: int) -> frozenset[int] | None:
    """Inodes of the sockets that a process has; None: it has ended, or we may not look."""
    found = []
    try:
        for descriptor in (_PROC / str(pid) / "fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed meanwhile
                link = str(descriptor.readlink())
                if link.startswith(_LINK):
                    found.append(int(link[len(_LINK) :].rstrip("]")) & _MASK)
    except OSError:
        return None
    return frozenset(found)
