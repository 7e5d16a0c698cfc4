"""Whether a QMP socket serves another client: QEMU greets one a socket, and the next hears nothing.

A socket that waits to be accepted has no inode yet, and the kernel does not list it; so every connected
socket that it lists with the name of the server's file was accepted by the server.  A QEMU that is slow,
or hangs, has accepted nobody.  A client that has gone holds nothing, also where a busy QEMU has not
noticed that yet: the kernel has shut its side of the connection down.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["serves_somebody", "serves_somebody_over_tcp"]

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_DUMP_REQUEST = 0x301
_ESTABLISHED = 1
_SHOW_FILE = 2
_FILE_ATTRIBUTE = 1
_SHUTDOWN_ATTRIBUTE = 6
_NOTHING_TO_COME = 1  # RCV_SHUTDOWN
_DONE_OR_ERROR = (2, 3)
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBHIIIII")
_SOCKET_BYTES = 16
_ATTRIBUTE = struct.Struct("=HH")
_FILE = struct.Struct("=II")
_MINOR_BITS = 20
_TIMEOUT_S = 0.5


def serves_somebody(path: str) -> bool:
    """Whether a server on a unix socket has accepted a client; False also where nobody can tell.

    Args:
        path: Of the socket's file.
    """
    try:
        found = Path(path).stat()
        files = list(_connected_files())
    except (OSError, ValueError, struct.error):
        return False
    major, minor = os.major(found.st_dev), os.minor(found.st_dev)
    for inode, device in files:
        if inode != found.st_ino & 0xFFFFFFFF:
            continue
        # File systems without a disk of their own show another minor number than the kernel has.
        if device >> _MINOR_BITS == major and (major == 0 or device & 0xFFFFF == minor):
            return True
    return False


def serves_somebody_over_tcp(connection: socket.socket) -> bool:
    """The same of the TCP server at the other end, where that is on this machine.

    Args:
        connection: Ours.
    """
    try:
        here, there = connection.getsockname(), connection.getpeername()
        if here[0] != there[0]:
            return False
        return any(_accepted_at(there[1]))
    except OSError:
        return False


def _accepted_at(port: int) -> Iterator[bool]:
    """For each TCP connection of a local port, whether a server has accepted it (proc(5))."""
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        with suppress(OSError, ValueError, IndexError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                words = line.split()
                if int(words[1].rpartition(":")[2], 16) == port and words[3] == "01":
                    yield words[9] != "0"


def _connected_files() -> Iterator[tuple[int, int]]:
    """Inode and device of the file of each unix socket that has one and a living peer (sock_diag(7))."""
    asking = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG)
    with asking:
        asking.settimeout(_TIMEOUT_S)
        body = _REQUEST.pack(socket.AF_UNIX, 0, 0, 1 << _ESTABLISHED, 0, _SHOW_FILE, 0, 0)
        size = _HEADER.size + len(body)
        asking.send(_HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _DUMP_REQUEST, 1, 0) + body)
        while True:
            data = asking.recv(1 << 16)
            while len(data) >= _HEADER.size:
                size, kind, *_ = _HEADER.unpack_from(data)
                if kind in _DONE_OR_ERROR or size < _HEADER.size:
                    return
                yield from _files_of(data[_HEADER.size + _SOCKET_BYTES : size])
                data = data[(size + 3) & ~3 :]


def _files_of(attributes: bytes) -> Iterator[tuple[int, int]]:
    told = dict(_attributes(attributes))
    file, shut = told.get(_FILE_ATTRIBUTE, b""), told.get(_SHUTDOWN_ATTRIBUTE, b"")
    if len(file) >= _FILE.size and not (shut and shut[0] & _NOTHING_TO_COME):
        yield _FILE.unpack_from(file)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(data)
        if size < _ATTRIBUTE.size:
            return
        yield kind, data[_ATTRIBUTE.size : size]
        data = data[(size + 3) & ~3 :]
