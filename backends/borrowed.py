"""A connection that somebody else made: a connected `QMPClient` of qemu.qmp, used beside its owner.

QEMU serves one client a socket, so a launcher that holds the connection cannot give snapplan one of its
own.  Rules: the connection is never ended, and never made anew (only its owner knows how); what is sent
goes between the owner's own commands; events reach the owner's listeners as before, and ours besides.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Mapping

from qemu.qmp import EventListener, ExecuteError, QMPClient, QMPError

from backends.host import QemuHost
from backends.images import QemuImages
from backends.qemu import HEARD_EVENTS, event_of
from planner.errors import CannotConnect, Problem
from planner.execute.ports import CommandRefused, ConnectionLost, Event, NoReply

__all__ = ["BorrowedBackend", "borrow"]

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


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


class BorrowedBackend:
    """A `planner.execute.ports.Backend` on a client that belongs to somebody else.

    Attributes:
        address: Where its socket is, as far as it says; empty: it has no name.
    """

    def __init__(self, client: QMPClient) -> None:
        self._client = client
        self._listener: EventListener | None = None
        self._ending: asyncio.Task[None] | None = None
        self._events: deque[Event] = deque()
        self._socket = _socket_of(client)
        self._host = QemuHost() if self._is_local else None
        self.address = _name_of(self._socket)

    @property
    def _is_local(self) -> bool:
        """Whether QEMU runs on this machine: it does where a unix socket leads to it."""
        return self._socket is not None and self._socket.family == socket.AF_UNIX

    @property
    def images(self) -> QemuImages | None:
        """The VM's images, where they are files of this machine."""
        return QemuImages() if self._is_local else None

    @property
    def host(self) -> QemuHost | None:
        """The machine that QEMU runs on, where it is this one."""
        return self._host

    @property
    def peer_pid(self) -> int | None:
        """Who is at the other end; see `planner.execute.ports.Backend.peer_pid`."""
        if self._socket is None or not self._is_local:
            return None
        told = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid: int = _CREDENTIALS.unpack(told)[0]
        return pid or None

    async def connect(self, timeout_s: float) -> None:
        """Take the connection up again, if it is still there; see `planner.execute.ports.Backend`."""
        del timeout_s
        await self.close()
        self.take_up()

    def take_up(self) -> None:
        """Listen for events from now on.

        Raises:
            CannotConnect: The client is not connected (``not-connected``).
        """
        if self._client.runstate.name != "RUNNING":
            words = "the client that was handed over is not connected"
            remedy = "connect it again and attach anew; `recover` ends what is pending"
            problem = Problem("not-connected", "vm", words, remedy)
            raise CannotConnect(words, problems=(problem,), code=problem.code)
        self._listener = EventListener(names=HEARD_EVENTS)
        self._client.register_listener(self._listener)
        self._ending = asyncio.create_task(_until_lost(self._client))

    async def execute(
        self, command: str, arguments: Mapping[str, object], timeout_s: float
    ) -> object:
        """Send a command and wait for its reply; see `planner.execute.ports.Backend.execute`."""
        if self._listener is None:
            raise ConnectionLost("the connection was given back")
        message = QMPClient.make_execute_msg(command, dict(arguments))
        try:
            async with asyncio.timeout(timeout_s):
                return await self._client.execute_msg(message)
        except ExecuteError as refused:
            raise CommandRefused(refused.error_class, str(refused)) from refused
        except TimeoutError as error:
            raise NoReply(f"no reply to {command} within {timeout_s:g} s") from error
        except (QMPError, OSError) as error:
            raise ConnectionLost(f"the connection ended before {command} was answered") from error

    async def execute_with_descriptor(
        self, command: str, arguments: Mapping[str, object], descriptor: int, timeout_s: float
    ) -> object:
        """Send a command with a descriptor; see `planner.execute.ports.Backend`."""
        if not self._is_local:
            raise CommandRefused("snapplan", "no descriptor can be passed over this connection")
        if self._listener is None:
            raise ConnectionLost("the connection was given back")
        try:
            self._client.send_fd_scm(descriptor)
        except (QMPError, OSError) as error:
            raise ConnectionLost(f"the descriptor could not be passed: {error}") from error
        return await self.execute(command, arguments, timeout_s)

    async def wait_for_event(self, timeout_s: float) -> None:
        """Wait for an event; see `planner.execute.ports.Backend.wait_for_event`."""
        self._take()
        if self._events:
            return
        if self._listener is None or self._ending is None:
            raise ConnectionLost("the connection was given back")
        getting = asyncio.create_task(self._listener.get())
        try:
            await asyncio.wait(
                {getting, self._ending},
                timeout=max(timeout_s, 0.0),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if getting.done():
                self._events.append(event_of(getting.result()))
            elif self._ending.done():
                raise ConnectionLost("the connection ended while an event was awaited")
            else:
                raise NoReply(f"no event within {max(timeout_s, 0.0):g} s")
        finally:
            if getting.cancel():
                await asyncio.wait({getting})

    def pending_events(self) -> tuple[Event, ...]:
        """Take what has arrived; see `planner.execute.ports.Backend.pending_events`."""
        self._take()
        taken = tuple(self._events)
        self._events.clear()
        return taken

    def _take(self) -> None:
        if self._listener is not None:
            self._events.extend(event_of(message) for message in self._listener.clear())

    async def close(self) -> None:
        """Give the connection back: nothing of ours listens to it any more."""
        self._take()
        listener, self._listener = self._listener, None
        ending, self._ending = self._ending, None
        if ending is not None:
            ending.cancel()
        if listener is not None:
            self._client.remove_listener(listener)


async def _until_lost(client: QMPClient) -> None:
    """Return when the client is no longer running."""
    while client.runstate.name == "RUNNING":
        await client.runstate_changed()


def _socket_of(client: QMPClient) -> socket.socket | None:
    """The client's socket; qemu.qmp has no name for it that is public."""
    writer = getattr(client, "_writer", None)
    found = None if writer is None else writer.get_extra_info("socket")
    return found if found is not None and hasattr(found, "getpeername") else None


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
