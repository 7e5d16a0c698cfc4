"""Whether a QMP socket serves another client: QEMU greets one a socket, and the next hears nothing.

A socket that waits to be accepted has no inode yet, and the kernel does not list it; so every connected
socket that it lists with the name of the server's file was accepted by the server.  A QEMU that is slow,
or hangs, has accepted nobody.  A client that has gone holds nothing, also where a busy QEMU has not
noticed that yet: the kernel has shut its side of the connection down.  Our own connection is left out: a
busy QEMU may have accepted it a good while before it greets.
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
_SHOW_PEER = 4
_FILE_ATTRIBUTE = 1
_PEER_ATTRIBUTE = 2
_SHUTDOWN_ATTRIBUTE = 6
_NOTHING_TO_COME = 1  # RCV_SHUTDOWN
_DONE_OR_ERROR = (2, 3)
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBHIIIII")
_SOCKET_BYTES = 16
_ATTRIBUTE = struct.Struct("=HH")
_FILE = struct.Struct("=II")
_INODE = struct.Struct("=I")
_MINOR_BITS = 20
_TIMEOUT_S = 0.5


def serves_somebody(path: str, but: socket.socket | None = None) -> bool:
    """Whether a server on a unix socket has accepted a client; False also where nobody can tell.

    Args:
        path: Of the socket's file.
        but: A connection that does not count: ours.
    """
    try:
        found = Path(path).stat()
        ours = 0 if but is None else os.fstat(but.fileno()).st_ino & 0xFFFFFFFF
        files = [file for *file, peer in _connected_files() if not ours or peer != ours]
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
    """For each TCP connection to a local port, but from one, whether it was accepted (proc(5))."""
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        with suppress(OSError, ValueError, IndexError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                words = line.split()
                here, there = (int(word.rpartition(":")[2], 16) for word in words[1:3])
                if here == port and there != but and words[3] == "01":
                    yield words[9] != "0"


def _connected_files() -> Iterator[tuple[int, int, int]]:
    """Of each unix socket with a file and a living peer: the file's inode and device, the peer's inode.

    From sock_diag(7); a peer's inode is 0 where the kernel does not say.
    """
    asking = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG)
    with asking:
        asking.settimeout(_TIMEOUT_S)
        shown = _SHOW_FILE | _SHOW_PEER
        body = _REQUEST.pack(socket.AF_UNIX, 0, 0, 1 << _ESTABLISHED, 0, shown, 0, 0)
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


def _files_of(attributes: bytes) -> Iterator[tuple[int, int, int]]:
    told = dict(_attributes(attributes))
    file, shut = told.get(_FILE_ATTRIBUTE, b""), told.get(_SHUTDOWN_ATTRIBUTE, b"")
    if len(file) >= _FILE.size and not (shut and shut[0] & _NOTHING_TO_COME):
        peer = told.get(_PEER_ATTRIBUTE, b"")
        [inode] = _INODE.unpack_from(peer) if len(peer) >= _INODE.size else (0,)
        yield *_FILE.unpack_from(file), inode


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(data)
        if size < _ATTRIBUTE.size:
            return
        yield kind, data[_ATTRIBUTE.size : size]
        data = data[(size + 3) & ~3 :]
