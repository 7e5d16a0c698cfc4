"""The connected unix sockets that have a name, as the kernel lists them: sock_diag(7)."""

import socket
import struct
import sys
from collections.abc import Iterator

from backends.qemu_facts.lab.outcome import NotRun

__all__ = ["connected_sockets"]

_SOCK_DIAG = 4
_DUMP = (20, 0x301)  # SOCK_DIAG_BY_FAMILY; NLM_F_REQUEST | NLM_F_DUMP
_CONNECTED = 1 << 1
_NAME, _PEER = 0, 2
_SHOW_NAME_AND_PEER = 1 << _NAME | 1 << _PEER
_BEGINS, _OWN, _PART = struct.Struct("=IHHII"), struct.Struct("=BBBxI8x"), struct.Struct("=HH")
_ENDS = (2, 3)  # NLMSG_ERROR, NLMSG_DONE
_LONGEST = 1 << 16


def connected_sockets() -> Iterator[tuple[str, int]]:
    """Each one's path, and the inode of the socket at its other end.

    Raises:
        NotRun: This kernel does not say.
    """
    asked = struct.pack("=BBHIIIQ", socket.AF_UNIX, 0, 0, _CONNECTED, 0, _SHOW_NAME_AND_PEER, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as kernel:
            kernel.settimeout(5)
            kernel.send(_BEGINS.pack(_BEGINS.size + len(asked), *_DUMP, 1, 0) + asked)
            while True:
                for kind, body in _split(kernel.recv(_LONGEST), _BEGINS, 4):
                    if kind in _ENDS:
                        return
                    parts = dict(_split(body[_OWN.size :], _PART, 4))
                    if _NAME in parts and _PEER in parts:
                        name = parts[_NAME].rstrip(b"\0").decode(errors="replace")
                        yield name, int.from_bytes(parts[_PEER], sys.byteorder)
    except OSError as error:
        raise NotRun(f"needs sock_diag: {error.strerror}") from None


def _split(data: bytes, head: struct.Struct, align: int) -> Iterator[tuple[int, bytes]]:
    """The kind and content of each message or part; its length comes first."""
    while len(data) >= head.size:
        size, kind, *_ = head.unpack_from(data)
        if size < head.size:
            return
        yield kind, data[head.size : size]
        data = data[-(-size // align) * align :]
