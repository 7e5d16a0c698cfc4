"""A running QEMU, through qemu.qmp.

Rules: whatever qemu.qmp raises is turned here, once, into the ports' three answers: refused, lost, no
reply.  Events are taken in the order in which they came; those that no run waits for are not kept, and
of the others only so many that a peer cannot fill our memory.  The connection never tells QEMU to stop.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import stat
import struct
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from qemu.qmp import ExecuteError, Message, QMPClient, QMPError
from qemu.qmp.error import ProtocolError
from qemu.qmp.qmp_client import BadReplyError

from backends.host import QemuHost
from backends.images import QemuImages
from backends.messages import LINE_LIMIT_BYTES, read_line, read_message
from planner.errors import BadInput, CannotConnect, Problem
from planner.execute.ports import CommandRefused, ConnectionLost, Event, NoReply

__all__ = ["HEARD_EVENTS", "QemuBackend", "connect", "event_of", "parse_address"]

_EVENTS_LIMIT_BYTES = 16 * 1024 * 1024
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

Address = str | tuple[str, int]


def parse_address(text: str) -> Address:
    """A unix socket's path, or ``host:port``.

    Raises:
        BadInput: It is neither.
    """
    host, colon, port = text.rpartition(":")
    if colon and "/" not in text and port.isdecimal() and 0 < int(port) < 65536:
        return (host.strip("[]") or "localhost", int(port))
    if not text or "\0" in text:
        problem = Problem("address-malformed", text, "a socket's path or host:port is wanted")
        raise BadInput(problem.words, problems=(problem,), code=problem.code)
    return text


async def connect(address: str, timeout_s: float = 10.0) -> QemuBackend:
    """Connect to a QEMU; the entry point of this backend.

    Args:
        address: A unix socket's path, or ``host:port``.
        timeout_s: How long to wait for QEMU's greeting, in seconds.

    Raises:
        BadInput: The address is malformed.
        CannotConnect: Nobody listens there (``nobody-listens``), somebody who says nothing
            (``no-greeting``: QEMU serves one client a socket), or who does not speak QMP.
    """
    backend = QemuBackend(parse_address(address))
    await backend.connect(timeout_s)
    return backend


# Whoever wants to see what qemu.qmp logs asks for it: a peer's words go to no terminal by themselves.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())


class _Client(QMPClient):
    """QMP with bounds; `events` here is what a run hears, each once.

    Attributes:
        heard: Events that nobody has taken yet.
        odd: What the peer said that is no QMP; empty: nothing.
    """

    def __init__(self) -> None:
        super().__init__("snapplan", readbuflen=LINE_LIMIT_BYTES)
        self.heard: asyncio.Queue[Message] = asyncio.Queue()
        self.odd = ""
        self._heard_bytes = 0

    async def _do_recv(self) -> Message:
        try:
            while True:
                line = await read_line(self._readline())
                message = read_message(line)
                if "event" not in message:
                    return message
                self._hear(message, len(line))
                await asyncio.sleep(0)  # a flood of them must not keep everybody else from running
        except ProtocolError as error:
            self.odd = str(error)
            raise

    def _hear(self, message: Message, size_bytes: int) -> None:
        if message["event"] not in HEARD_EVENTS:
            return
        self._heard_bytes += size_bytes
        if self._heard_bytes > _EVENTS_LIMIT_BYTES:
            raise ProtocolError("the peer sends events without end")
        self.heard.put_nowait(message)

    # As inherited, these write each message out at length, whether anybody keeps the log or not.
    def _cb_outbound(self, msg: Message) -> Message:
        self.logger.debug("--> %s", msg)
        return msg

    def _cb_inbound(self, msg: Message) -> Message:
        self.logger.debug("<-- %s", msg)
        return msg

    @property
    def peer_pid(self) -> int | None:
        """Who called `listen` at the other end, in our PID namespace; None: it is not in it."""
        peer = None if self._writer is None else self._writer.get_extra_info("socket")
        if peer is None or peer.family != socket.AF_UNIX:
            return None
        told = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid: int = _CREDENTIALS.unpack(told)[0]
        return pid or None


class QemuBackend:
    """A `planner.execute.ports.Backend` on one QMP socket.

    Attributes:
        address: Where it is.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._client: _Client | None = None
        self._ending: asyncio.Task[None] | None = None
        self._events: deque[Event] = deque()
        self._host: QemuHost | None = None
        self._peer_pid: int | None = None

    @property
    def is_local(self) -> bool:
        """Whether QEMU runs on this machine, so that its images are this machine's files."""
        return isinstance(self.address, str)

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
        """Who listens; see `planner.execute.ports.Backend.peer_pid`."""
        return self._peer_pid

    async def connect(self, timeout_s: float) -> None:
        """Connect, or connect anew; see `planner.execute.ports.Backend.connect`."""
        await self.close()
        self._check_socket()
        client = _Client()
        try:
            async with asyncio.timeout(timeout_s):
                await client.connect(self.address)
        except TimeoutError as error:
            await _end(client)
            raise self._cannot(
                "no-greeting",
                "connected, but QEMU says nothing",
                "QEMU serves one client a socket: give snapplan one of its own",
            ) from error
        except Exception as error:  # qemu.qmp also lets out its own assertions
            await _end(client)
            raise self._translate(error) from error
        self._client = client
        self._peer_pid = client.peer_pid
        self._ending = asyncio.create_task(_until_lost(client))

    def _check_socket(self) -> None:
        if not isinstance(self.address, str):
            return
        try:
            mode = Path(self.address).stat().st_mode
        except PermissionError as error:
            raise self._denied(error) from error
        except OSError as error:
            raise self._cannot("nobody-listens", f"{error.strerror}", "") from error
        if not stat.S_ISSOCK(mode):
            raise self._cannot("no-socket", "it is no socket", "give QEMU's -qmp unix:PATH")

    def _translate(self, error: Exception) -> CannotConnect:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ConnectionRefusedError | FileNotFoundError):
                return self._cannot("nobody-listens", "connection refused", "is QEMU running?")
            if isinstance(cause, PermissionError):
                return self._denied(cause)
            cause = cause.__cause__ or getattr(cause, "exc", None)
        return self._cannot("not-qmp", f"{error}", "is it QEMU's QMP socket?")

    def _denied(self, error: PermissionError) -> CannotConnect:
        remedy = "run snapplan as a user that may use the socket"
        return self._cannot("no-access", f"{error.strerror}", remedy)

    def _cannot(self, code: str, message: str, remedy: str) -> CannotConnect:
        where = self.address if isinstance(self.address, str) else "{}:{}".format(*self.address)
        problem = Problem(code, where, message, remedy)
        return CannotConnect(
            f"cannot connect to {where}: {message}", problems=(problem,), code=code
        )

    async def execute(
        self, command: str, arguments: Mapping[str, object], timeout_s: float
    ) -> object:
        """Send a command and wait for its reply; see `planner.execute.ports.Backend.execute`."""
        client = self._client
        if client is None:
            raise ConnectionLost("not connected")
        message = QMPClient.make_execute_msg(command, dict(arguments))
        try:
            async with asyncio.timeout(timeout_s):
                return await client.execute_msg(message)
        except ExecuteError as refused:
            raise CommandRefused(refused.error_class, str(refused)) from refused
        except TimeoutError as error:
            raise NoReply(f"no reply to {command} within {timeout_s:g} s") from error
        except Exception as error:
            why = client.odd or (str(error) if isinstance(error, BadReplyError) else "")
            words = f"the connection ended before {command} was answered"
            raise ConnectionLost(f"{words}: {why}" if why else words) from error

    async def execute_with_descriptor(
        self, command: str, arguments: Mapping[str, object], descriptor: int, timeout_s: float
    ) -> object:
        """Send a command with a descriptor; see `planner.execute.ports.Backend`."""
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
        """Wait for an event; see `planner.execute.ports.Backend.wait_for_event`."""
        self._take()
        if self._events:
            return
        if self._client is None or self._ending is None:
            raise ConnectionLost("not connected")
        getting = asyncio.create_task(self._client.heard.get())
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
        while self._client is not None and not self._client.heard.empty():
            self._events.append(event_of(self._client.heard.get_nowait()))

    async def close(self) -> None:
        """End the connection; the VM goes on."""
        self._take()
        client, self._client = self._client, None
        ending, self._ending = self._ending, None
        if ending is not None:
            ending.cancel()
        if client is not None:
            await _end(client)


async def _until_lost(client: QMPClient) -> None:
    """Return when the client is no longer running."""
    while client.runstate.name == "RUNNING":
        await client.runstate_changed()


async def _end(client: QMPClient) -> None:
    try:
        await client.disconnect()
    except Exception:  # noqa: BLE001 - it ended by itself, whatever it says; that is what was wanted
        return


def event_of(message: Message) -> Event:
    """An event of a run, from what QMP says."""
    stamp = message.get("timestamp")
    at_us = 0
    if isinstance(stamp, Mapping):
        seconds, micros = stamp.get("seconds"), stamp.get("microseconds")
        if isinstance(seconds, int) and isinstance(micros, int):
            at_us = seconds * _US_PER_S + micros
    data = message.get("data")
    return Event(str(message.get("event")), data if isinstance(data, Mapping) else {}, at_us)
