"""A connection that somebody else made: a connected `QMPClient` of qemu.qmp, used beside its owner.

QEMU serves one client a socket, so a launcher that holds the connection cannot give snapplan one of its
own.  Rules: the connection is never ended, and never made anew (only its owner knows how); what is sent
goes between the owner's own commands; events reach the owner's listeners as before, and ours besides.
"""

from __future__ import annotations

import socket

from qemu.qmp import EventListener, Message, QMPClient

from backends.client import ClientBackend, socket_of
from backends.peer import HEARD_EVENTS
from planner.errors import CannotConnect, Problem

__all__ = ["BorrowedBackend", "borrow"]


def borrow(client: QMPClient) -> BorrowedBackend:
    """Use a client beside its owner.

    Args:
        client: Connected; capabilities are negotiated.

    Raises:
        CannotConnect: It is not connected (``not-connected``).
    """
    backend = BorrowedBackend(client)
    backend.take_up()
    return backend


class _Listener(EventListener):
    """A listener of ours beside the owner's; a `planner.run.ports` run takes from it."""

    def taken(self) -> list[Message]:
        """Take all that have arrived."""
        return self.clear()


class BorrowedBackend(ClientBackend):
    """A `planner.run.ports.Backend` on a client that belongs to somebody else.

    Attributes:
        address: Where its socket is, as far as it says; empty: it has no name.
    """

    def __init__(self, client: QMPClient) -> None:
        super().__init__()
        self._lent = client
        self._listener: _Listener | None = None
        self._socket = socket_of(client)
        self.address = _name_of(self._socket)

    @property
    def is_local(self) -> bool:
        """Whether QEMU runs on this machine: it does where a unix socket leads to it."""
        return self._socket is not None and self._socket.family == socket.AF_UNIX

    async def connect(self, timeout_s: float) -> None:
        """Take the connection up again, if it is still there; see `planner.run.ports.Backend`."""
        del timeout_s
        await self.close()
        self.take_up()

    def take_up(self) -> None:
        """Listen for events from now on.

        Raises:
            CannotConnect: The client is not connected (``not-connected``).
        """
        if self._lent.runstate.name != "RUNNING":
            words = "the client that was handed over is not connected"
            remedy = "connect it again and attach anew; `recover` ends what is pending"
            problem = Problem("not-connected", "vm", words, remedy)
            raise CannotConnect(words, problems=(problem,), code=problem.code)
        self._listener = _Listener(names=HEARD_EVENTS)
        self._lent.register_listener(self._listener)
        self._use(self._lent, self._listener)

    async def close(self) -> None:
        """Give the connection back: nothing of ours listens to it any more."""
        self._leave()
        listener, self._listener = self._listener, None
        if listener is not None:
            self._lent.remove_listener(listener)


def _name_of(found: socket.socket | None) -> str:
    if found is None:
        return ""
    try:
        name = found.getpeername()
    except OSError:
        return ""
    if isinstance(name, tuple):
        return f"{name[0]}:{name[1]}"
    return name if isinstance(name, str) else ""
