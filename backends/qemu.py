"""A running QEMU, through qemu.qmp.

Rules: whatever qemu.qmp raises is turned here, once, into the ports' three answers: refused, lost, no
reply.  Events are taken in the order in which they came; those that no run waits for are not kept, and
of the others only so many that a peer cannot fill our memory.  The connection never tells QEMU to stop.
"""

from __future__ import annotations

import asyncio
import logging
import stat
from pathlib import Path

from qemu.qmp import Message, QMPClient
from qemu.qmp.error import ProtocolError
from qemu.qmp.qmp_client import BadReplyError

from backends.client import ClientBackend, socket_of
from backends.held_socket import serves_somebody, serves_somebody_over_tcp
from backends.messages import LINE_LIMIT_BYTES, read_message, read_whole
from backends.peer import HEARD_EVENTS
from planner.errors import BadInput, CannotConnect, Problem

__all__ = ["QemuBackend", "connect", "parse_address"]

_PATIENCE_S = 0.4
"""How long a greeting may take before it is looked whether another client has the socket."""
_BUSY = "another client has this socket, and QEMU serves one client a socket"
_BUSY_REMEDY = (
    "give snapplan one of its own (`-qmp unix:PATH,server=on,wait=off` once more); or a tool that has "
    "the connection lends it (`snapplan.attach(client)`), or is a backend itself (`--backend NAME`)"
)
_LOOK = "`snapplan doctor` lists the QEMUs of this machine with their sockets"
_FOR_PEOPLE = "monitor - type 'help'"
_QMP_TOO = "give QEMU a QMP socket beside it (`-qmp unix:PATH,server=on,wait=off`)"
_EVENTS_LIMIT_BYTES = 16 * 1024 * 1024

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
        raise BadInput.of(problem)
    return text


async def connect(address: str, timeout_s: float = 10.0) -> QemuBackend:
    """Connect to a QEMU; the entry point of this backend.

    Args:
        address: A unix socket's path, or ``host:port``.
        timeout_s: How long to wait for QEMU's greeting, in seconds.

    Raises:
        BadInput: The address is malformed.
        CannotConnect: Nobody listens there (``nobody-listens``), somebody who says nothing
            (``socket-busy``: another client has the socket; ``no-greeting``: QEMU is slow, or hangs),
            or who does not speak QMP.
    """
    backend = QemuBackend(parse_address(address))
    await backend.connect(timeout_s)
    return backend


# Whoever wants to see what qemu.qmp logs asks for it: a peer's words go to no terminal by themselves.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())


class _SocketBusyError(Exception):
    """Another client has the socket."""


class _Heard(asyncio.Queue[Message]):
    """Events that nobody has taken yet."""

    def taken(self) -> list[Message]:
        """Take all that have arrived."""
        return [self.get_nowait() for _ in range(self.qsize())]


class _QemuClient(QMPClient):
    """QMP with bounds; `events` here is what a run hears, each once.

    Attributes:
        heard: Events that nobody has taken yet.
        odd: What the peer said that is no QMP; empty: nothing.
    """

    def __init__(self) -> None:
        super().__init__("snapplan", readbuflen=LINE_LIMIT_BYTES)
        self.heard = _Heard()
        self.odd = ""
        self._heard_bytes = 0

    async def _do_recv(self) -> Message:
        try:
            while True:
                line = await read_whole(self._readline)
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


class QemuBackend(ClientBackend):
    """A `planner.run.ports.Backend` on one QMP socket.

    Attributes:
        address: Where it is.
    """

    def __init__(self, address: Address) -> None:
        super().__init__()
        self.address = address

    @property
    def is_local(self) -> bool:
        """Whether QEMU runs on this machine, so that its images are this machine's files."""
        return isinstance(self.address, str)

    async def connect(self, timeout_s: float) -> None:
        """Connect, or connect anew; see `planner.run.ports.Backend.connect`."""
        await self.close()
        self._check_socket()
        client = _QemuClient()
        try:
            async with asyncio.timeout(timeout_s):
                await self._greeted(client)
        except _SocketBusyError as error:
            await _end(client)
            raise self._cannot("socket-busy", _BUSY, _BUSY_REMEDY) from error
        except TimeoutError as error:
            await _end(client)
            raise self._cannot(
                "no-greeting",
                "connected, but QEMU says nothing",
                "QEMU is slow, or hangs; or another client has the socket, and QEMU serves one a socket",
            ) from error
        except Exception as error:  # qemu.qmp also lets out its own assertions
            await _end(client)
            raise self._translate(error) from error
        self._use(client, client.heard)

    async def _greeted(self, client: _QemuClient) -> None:
        """Wait for QEMU's greeting, and no longer where another client has the socket.

        Raises:
            _SocketBusyError: That is so.
        """
        greeting = asyncio.create_task(client.connect(self.address))
        try:
            while not greeting.done():
                held = self._is_held(client)
                await asyncio.wait({greeting}, timeout=_PATIENCE_S)
                if held and not greeting.done() and self._is_held(client):
                    raise _SocketBusyError
            greeting.result()
        finally:
            if greeting.cancel():
                await asyncio.wait({greeting})

    def _is_held(self, client: _QemuClient) -> bool:
        if isinstance(self.address, str):
            return serves_somebody(self.address, but=socket_of(client))
        connection = socket_of(client)
        return connection is not None and serves_somebody_over_tcp(connection)

    def _check_socket(self) -> None:
        if not isinstance(self.address, str):
            return
        try:
            mode = Path(self.address).stat().st_mode
        except PermissionError as error:
            raise self._denied(error) from error
        except OSError as error:
            raise self._cannot("nobody-listens", f"{error.strerror}", _LOOK) from error
        if not stat.S_ISSOCK(mode):
            raise self._cannot("no-socket", "it is no socket", "give QEMU's -qmp unix:PATH")

    def _translate(self, error: Exception) -> CannotConnect:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ConnectionRefusedError | FileNotFoundError):
                remedy = f"is QEMU running? {_LOOK}"
                return self._cannot("nobody-listens", "connection refused", remedy)
            if isinstance(cause, PermissionError):
                return self._denied(cause)
            cause = cause.__cause__ or getattr(cause, "exc", None)
        if _FOR_PEOPLE in f"{error}":
            return self._cannot("not-qmp", "QEMU's monitor for people answers there", _QMP_TOO)
        return self._cannot("not-qmp", f"{error}", f"is it QEMU's QMP socket? {_LOOK}")

    def _denied(self, error: PermissionError) -> CannotConnect:
        remedy = "run snapplan as a user that may use the socket"
        return self._cannot("no-access", f"{error.strerror}", remedy)

    def _cannot(self, code: str, message: str, remedy: str) -> CannotConnect:
        where = self.address if isinstance(self.address, str) else "{}:{}".format(*self.address)
        problem = Problem(code, where, message, remedy)
        return CannotConnect(
            f"cannot connect to {where}: {message}", problems=(problem,), code=code
        )

    def _oddity(self, client: QMPClient, error: Exception) -> str:
        """What the peer said that is no QMP."""
        odd = client.odd if isinstance(client, _QemuClient) else ""
        return odd or (str(error) if isinstance(error, BadReplyError) else "")

    async def close(self) -> None:
        """End the connection; the VM goes on."""
        client = self._leave()
        if client is not None:
            await _end(client)


async def _end(client: QMPClient) -> None:
    try:
        await client.disconnect()
    except Exception:  # noqa: BLE001 - it ended by itself, whatever it says; that is what was wanted
        return
