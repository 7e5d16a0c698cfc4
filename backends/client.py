"""What every backend on a `QMPClient` of qemu.qmp does: one that is ours, or one that was lent to us.

Rules: whatever qemu.qmp raises is turned here, once, into the ports' three answers: refused, lost, no
reply.  Events are taken in the order in which they came; those that no run waits for are not kept.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Protocol

from qemu.qmp import ExecuteError, Message, QMPClient, QMPError

from backends.peer import PeerBackend, event_of
from planner.run.ports import CommandRefused, ConnectionLost, NoReply

__all__ = ["ClientBackend", "EventSource", "peer_pid_of", "socket_of"]

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


class EventSource(Protocol):
    """Where events arrive that nobody has taken yet."""

    async def get(self) -> Message:
        """Wait for one, and take it."""
        ...

    def taken(self) -> list[Message]:
        """Take all that have arrived."""
        ...


class ClientBackend(PeerBackend):
    """A `planner.run.ports.Backend` on a connected client; how it is connected is the kinds' own."""

    def __init__(self) -> None:
        super().__init__()
        self._client: QMPClient | None = None
        self._source: EventSource | None = None
        self._ending: asyncio.Task[None] | None = None

    def _use(self, client: QMPClient, source: EventSource) -> None:
        """Use a connected client from now on."""
        self._client, self._source = client, source
        self._peer_pid = peer_pid_of(client)
        self._ending = asyncio.create_task(_until_lost(client))

    def _leave(self) -> QMPClient | None:
        """Use it no longer; what has arrived is still to be taken."""
        self._take()
        client, self._client, self._source = self._client, None, None
        ending, self._ending = self._ending, None
        if ending is not None:
            ending.cancel()
        return client

    def _oddity(self, client: QMPClient, error: Exception) -> str:
        """What a connection ended over, where the peer said something odd; else empty."""
        del client, error
        return ""

    async def _ask(self, command: str, arguments: Mapping[str, object]) -> object:
        client = self._client
        if client is None:
            raise ConnectionLost("not connected")
        try:
            return await client.execute_msg(QMPClient.make_execute_msg(command, dict(arguments)))
        except ExecuteError as refused:
            raise CommandRefused(refused.error_class, str(refused)) from refused
        except Exception as error:
            why = self._oddity(client, error)
            words = f"the connection ended before {command} was answered"
            raise ConnectionLost(f"{words}: {why}" if why else words) from error

    async def execute_with_descriptor(
        self, command: str, arguments: Mapping[str, object], descriptor: int, timeout_s: float
    ) -> object:
        """Send a command with a descriptor; see `planner.run.ports.Backend`."""
        if not self.is_local:
            raise CommandRefused("snapplan", "no descriptor can be passed over TCP")
        if self._client is None:
            raise ConnectionLost("not connected")
        try:
            self._client.send_fd_scm(descriptor)
        except (QMPError, OSError) as error:
            raise ConnectionLost(f"the descriptor could not be passed: {error}") from error
        return await self.execute(command, arguments, timeout_s)

    async def wait_for_event(self, timeout_s: float) -> None:
        """Wait for an event; see `planner.run.ports.Backend.wait_for_event`."""
        self._take()
        if self._events:
            return
        if self._source is None or self._ending is None:
            raise ConnectionLost("not connected")
        getting = asyncio.ensure_future(self._source.get())
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

    def _take(self) -> None:
        if self._source is not None:
            self._events.extend(event_of(message) for message in self._source.taken())


def socket_of(client: QMPClient) -> socket.socket | None:
    """A client's socket; qemu.qmp has no public name for it."""
    writer = getattr(client, "_writer", None)
    found = None if writer is None else writer.get_extra_info("socket")
    return found if found is not None and hasattr(found, "getpeername") else None


def peer_pid_of(client: QMPClient) -> int | None:
    """Who called `listen` at the other end, in our PID namespace; None: it is not in it."""
    peer = socket_of(client)
    if peer is None or peer.family != socket.AF_UNIX:
        return None
    told = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(told)[0]
    return pid or None


async def _until_lost(client: QMPClient) -> None:
    """Return when the client is no longer running."""
    while client.runstate.name == "RUNNING":
        await client.runstate_changed()
