"""The connected TCP sockets of a process's network namespace, from /proc (proc(5))."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from attrs import frozen

__all__ = ["TcpSocket", "connected_tcp_sockets"]

_ESTABLISHED = "01"
_MAPPED = "0000000000000000FFFF0000"
"""What an IPv4 address in /proc/net/tcp6 begins with."""


@frozen
class TcpSocket:
    """One end of a connection.

    Attributes:
        here: Its address and port, in the kernel's spelling.
        there: Those of the other end.
        inode: Its own; 0: it waits to be accepted.
    """

    here: str
    there: str
    inode: int

    @property
    def here_port(self) -> int:
        """Its port."""
        return _port(self.here)

    @property
    def there_port(self) -> int:
        """The port of the other end."""
        return _port(self.there)


def connected_tcp_sockets(process: str = "self") -> Iterator[TcpSocket]:
    """All of them, as far as they can be read.

    Args:
        process: The id of a process that has this namespace.
    """
    for table in ("tcp", "tcp6"):
        with suppress(OSError, ValueError, IndexError):
            text = Path("/proc", process, "net", table).read_text(encoding="ascii")
            for words in (line.split() for line in text.splitlines()[1:]):
                if words[3] == _ESTABLISHED:
                    here, there = (word.removeprefix(_MAPPED) for word in words[1:3])
                    yield TcpSocket(here, there, int(words[9]))


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)
