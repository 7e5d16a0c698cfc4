"""The connected unix sockets of this network namespace, from sock_diag(7).

A socket that waits to be accepted has no inode yet, and the kernel does not list it: so whatever it
lists with the name of a server's file was accepted by that server.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

from attrs import frozen

__all__ = ["UnixSocket", "connected_unix_sockets"]

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_DUMP_REQUEST = 0x301
_ESTABLISHED = 1
_SHOW_NAME = 1
_SHOW_FILE = 2
_SHOW_PEER = 4
_NAME_ATTRIBUTE = 0
_FILE_ATTRIBUTE = 1
_PEER_ATTRIBUTE = 2
_SHUTDOWN_ATTRIBUTE = 6
_NOTHING_TO_COME = 1  # RCV_SHUTDOWN
_DONE_OR_ERROR = (2, 3)
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBHIIIII")
_SOCKET = struct.Struct("=BBBxIII")
_ATTRIBUTE = struct.Struct("=HH")
_FILE = struct.Struct("=II")
_INODE = struct.Struct("=I")
_MINOR_BITS = 20
_TIMEOUT_S = 0.5


@frozen
class UnixSocket:
    """One.

    Attributes:
        inode: Its own; the kernel tells the lower 32 bits.
        peer: Inode of the socket at the other end; 0: the kernel does not say.
        name: The path that it is bound to, as that was said; empty: none.
        file: Inode and device (the kernel's number) of that file; None: there is none.
        is_shut: Whether the other end has gone.
    """

    inode: int
    peer: int = 0
    name: str = ""
    file: tuple[int, int] | None = None
    is_shut: bool = False

    def is_at(self, found: os.stat_result) -> bool:
        """Whether it is bound to this file."""
        if self.file is None:
            return False
        inode, device = self.file
        major, minor = os.major(found.st_dev), os.minor(found.st_dev)
        if inode != found.st_ino & 0xFFFFFFFF or device >> _MINOR_BITS != major:
            return False
        # File systems without a disk of their own show another minor number than the kernel has.
        return major == 0 or device & 0xFFFFF == minor


def connected_unix_sockets() -> Iterator[UnixSocket]:
    """All of them.

    Raises:
        OSError, struct.error: The kernel does not answer, or otherwise than sock_diag(7) says.
    """
    asking = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG)
    with asking:
        asking.settimeout(_TIMEOUT_S)
        shown = _SHOW_NAME | _SHOW_FILE | _SHOW_PEER
        body = _REQUEST.pack(socket.AF_UNIX, 0, 0, 1 << _ESTABLISHED, 0, shown, 0, 0)
        size = _HEADER.size + len(body)
        asking.send(_HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _DUMP_REQUEST, 1, 0) + body)
        while True:
            data = asking.recv(1 << 16)
            while len(data) >= _HEADER.size:
                size, kind, *_ = _HEADER.unpack_from(data)
                if kind in _DONE_OR_ERROR or size < _HEADER.size:
                    return
                yield _socket_of(data[_HEADER.size : size])
                data = data[(size + 3) & ~3 :]


def _socket_of(message: bytes) -> UnixSocket:
    inode = _SOCKET.unpack_from(message)[3]
    told = dict(_attributes(message[_SOCKET.size :]))
    file, peer = told.get(_FILE_ATTRIBUTE, b""), told.get(_PEER_ATTRIBUTE, b"")
    shut = told.get(_SHUTDOWN_ATTRIBUTE, b"")
    name = told.get(_NAME_ATTRIBUTE, b"").rstrip(b"\0")
    name = b"" if name.startswith(b"\0") else name  # an abstract one is no path
    return UnixSocket(
        inode,
        _INODE.unpack_from(peer)[0] if len(peer) >= _INODE.size else 0,
        os.fsdecode(name),
        _FILE.unpack_from(file)[:2] if len(file) >= _FILE.size else None,
        bool(shut and shut[0] & _NOTHING_TO_COME),
    )


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(data)
        if size < _ATTRIBUTE.size:
            return
        yield kind, data[_ATTRIBUTE.size : size]
        data = data[(size + 3) & ~3 :]
