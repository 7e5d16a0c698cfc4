"""What every backend on a `QMPClient` of qemu.qmp does: one that is ours, or one that was lent to us.

Rules: whatever qemu.qmp raises is turned here, once, into the ports' three answers: refused, lost, no
reply.  Events are taken in the order in which they came; those that no run waits for are not kept.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from qemu.qmp import ExecuteError, Message, QMPClient, QMPError

from backends.descriptor_names import files_of_sets, names_a_set
from backends.host import QemuHost
from backends.images import QemuImages
from backends.logged import log_answer, log_command
from backends.relative_names import TELLS_FILES, from_the_root
from planner.run.ports import CommandRefused, ConnectionLost, Event, NoReply

__all__ = ["HEARD_EVENTS", "ClientBackend", "EventSource", "peer_pid_of", "socket_of"]

HEARD_EVENTS = frozenset(
    {
        *("STOP", "RESUME", "SHUTDOWN", "RESET", "SUSPEND", "WAKEUP", "MIGRATION"),
        *("JOB_STATUS_CHANGE", "BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED", "BLOCK_JOB_ERROR"),
        *("BLOCK_JOB_READY", "BLOCK_JOB_PENDING"),
    }
)
"""What a run waits for, or must know of; what a guest can cause at will is not among them."""
_US_PER_S = 1_000_000
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


class EventSource(Protocol):
    """Where events arrive that nobody has taken yet."""

    async def get(self) -> Message:
        """Wait for one, and take it."""
        ...

    def taken(self) -> list[Message]:
        """Take all that have arrived."""
        ...


class ClientBackend(ABC):
    """A `planner.run.ports.Backend` on a connected client; how it is connected is the kinds' own."""

    def __init__(self) -> None:
        self._client: QMPClient | None = None
        self._source: EventSource | None = None
        self._ending: asyncio.Task[None] | None = None
        self._events: deque[Event] = deque()
        self._host: QemuHost | None = None
        self._peer_pid: int | None = None

    @property
    @abstractmethod
    def is_local(self) -> bool:
        """Whether QEMU runs on this machine, so that its images are this machine's files."""

    @abstractmethod
    async def connect(self, timeout_s: float) -> None:
        """Connect, or connect anew; see `planner.run.ports.Backend.connect`."""

    @abstractmethod
    async def close(self) -> None:
        """End the connection, or give it back; the VM goes on."""

    @property
    def images(self) -> QemuImages | None:
        """The VM's images, where they are files of this machine."""
        return QemuImages() if self.is_local else None

    @property
    def host(self) -> QemuHost | None:
        """The machine that QEMU runs on, where it is this one."""
        if not self.is_local:
            return None
        if self._host is None:
            self._host = QemuHost()
        return self._host

    @property
    def peer_pid(self) -> int | None:
        """Who is at the other end; see `planner.run.ports.Backend.peer_pid`."""
        return self._peer_pid

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

    async def execute(
        self, command: str, arguments: Mapping[str, object], timeout_s: float
    ) -> object:
        """Send a command and wait for its reply; see `planner.run.ports.Backend.execute`."""
        client = self._client
        if client is None:
            raise ConnectionLost("not connected")
        message = QMPClient.make_execute_msg(command, dict(arguments))
        log_command(command, arguments)
        with _logged(command):
            return await self._execute(client, command, message, timeout_s)

    async def _execute(
        self, client: QMPClient, command: str, message: Message, timeout_s: float
    ) -> object:
        try:
            async with asyncio.timeout(timeout_s):
                answer = await client.execute_msg(message)
                if command not in TELLS_FILES or not self.is_local:
                    return answer
                return from_the_root(answer, self._peer_pid, await self._sets(client, answer))
        except ExecuteError as refused:
            raise CommandRefused(refused.error_class, str(refused)) from refused
        except TimeoutError as error:
            raise NoReply(f"no reply to {command} within {timeout_s:g} s") from error
        except Exception as error:
            why = self._oddity(client, error)
            words = f"the connection ended before {command} was answered"
            raise ConnectionLost(f"{words}: {why}" if why else words) from error

    async def _sets(self, client: QMPClient, answer: object) -> Callable[[str], str]:
        """What the names of descriptor sets in an answer mean."""
        if not names_a_set(answer):
            return str
        asking = QMPClient.make_execute_msg("query-fdsets")
        try:
            sets = await client.execute_msg(asking)
        except ExecuteError:
            return str
        return files_of_sets(sets, self._peer_pid)

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
                self._events.append(_event(getting.result()))
            elif self._ending.done():
                raise ConnectionLost("the connection ended while an event was awaited")
            else:
                raise NoReply(f"no event within {max(timeout_s, 0.0):g} s")
        finally:
            if getting.cancel():
                await asyncio.wait({getting})

    def pending_events(self) -> tuple[Event, ...]:
        """Take what has arrived; see `planner.run.ports.Backend.pending_events`."""
        self._take()
        taken = tuple(self._events)
        self._events.clear()
        return taken

    def _take(self) -> None:
        if self._source is not None:
            self._events.extend(_event(message) for message in self._source.taken())


@contextmanager
def _logged(command: str) -> Iterator[None]:
    began_s = time.monotonic()
    try:
        yield
    except BaseException as error:
        log_answer(command, time.monotonic() - began_s, error)
        raise
    log_answer(command, time.monotonic() - began_s)


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


def _event(message: Message) -> Event:
    stamp = message.get("timestamp")
    at_us = 0
    if isinstance(stamp, Mapping):
        seconds, micros = stamp.get("seconds"), stamp.get("microseconds")
        if isinstance(seconds, int) and isinstance(micros, int):
            at_us = seconds * _US_PER_S + micros
    data = message.get("data")
    return Event(str(message.get("event")), data if isinstance(data, Mapping) else {}, at_us)
