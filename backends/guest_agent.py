"""The QEMU guest agent, through qemu.qmp: freezes and thaws a guest's file systems.

Rules: the agent speaks QMP's JSON without a greeting.  Its channel outlives whoever used it before, so
old replies may still be in it, whole or in part: every call begins with `guest-sync-delimited`, behind
a 0xFF byte that makes the agent forget half a command, and everything is dropped until the agent
answers with our number behind a 0xFF of its own.  After any call without an answer the connection is
made anew, for one that is out of step never gets into it again by itself.

The agent may be older than ids (QEMU 4.0): one call is made at a time, so what comes next in a channel
that is in step is the answer to it.
"""

from __future__ import annotations

import asyncio
import secrets
import socket

from qemu.qmp import ExecuteError, Message, QMPClient, QMPError

from backends.messages import read_line, read_message
from planner.run.ports import CommandRefused, ConnectionLost, NoReply

__all__ = ["GuestAgent"]

_SENTINEL = b"\xff"
_SYNC = "guest-sync-delimited"
_RETRY_S = 0.02
_NUMBER_BITS = 53
"""Every JSON reader can tell whole numbers of so many bits apart."""


class GuestAgent:
    """A `planner.run.ports.Agent` on one unix socket.

    It connects with the first call and keeps the connection between calls: QEMU serves one client a
    socket, and whoever has frozen a guest must be able to thaw it.

    Attributes:
        path: The socket's path (QEMU's chardev of the agent's port).
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._client: _AgentClient | None = None

    async def freeze(self, timeout_s: float) -> int:
        """Freeze the file systems; see `planner.run.ports.Agent.freeze`."""
        return _count(await self._call("guest-fsfreeze-freeze", timeout_s))

    async def thaw(self, timeout_s: float) -> int:
        """Thaw the file systems; see `planner.run.ports.Agent.thaw`."""
        return _count(await self._call("guest-fsfreeze-thaw", timeout_s))

    async def status(self, timeout_s: float) -> str:
        """Whether they are frozen; see `planner.run.ports.Agent.status`."""
        answer = await self._call("guest-fsfreeze-status", timeout_s)
        if answer not in ("frozen", "thawed"):
            raise NoReply(f"the guest agent says {answer!r:.60} instead of frozen or thawed")
        return str(answer)

    async def close(self) -> None:
        """End the connection; see `planner.run.ports.Agent.close`."""
        client, self._client = self._client, None
        if client is not None:
            await _end(client)

    async def _call(self, command: str, timeout_s: float) -> object:
        try:
            async with asyncio.timeout(timeout_s):
                client = await self._connected()
                await client.execute(_SYNC, {"id": secrets.randbits(_NUMBER_BITS)})
                return await client.execute(command)
        except ExecuteError as refused:
            raise CommandRefused(refused.error_class, str(refused)) from refused
        except TimeoutError as error:
            await self.close()
            raise NoReply(
                f"the guest agent did not answer {command} within {timeout_s:g} s"
            ) from error
        except (
            Exception
        ) as error:  # qemu.qmp also lets out its own assertions, and a guest may say anything
            await self.close()
            raise ConnectionLost(
                f"the guest agent's channel ended before {command} was answered: {_why(error)}"
            ) from error

    async def _connected(self) -> _AgentClient:
        if self._client is None or self._client.runstate.name != "RUNNING":
            await self.close()
            # Kept before it is connected: what a time-out interrupts has to be ended as well.
            self._client = _AgentClient()
            await self._client.connect(await _connected_socket(self.path))
        return self._client


class _AgentClient(QMPClient):
    """QMP as the guest agent speaks it.

    While it is not in step, only the agent's echo of `_number` counts, and all else is old.
    """

    def __init__(self) -> None:
        super().__init__("guest-agent")
        self.await_greeting = False
        self.negotiate = False
        self._in_step = False
        self._number: object = None
        self._id: object = None

    def _do_send(self, msg: Message) -> None:
        assert self._writer is not None  # noqa: S101 - as inherited
        self._id = msg.get("id")
        if msg.get("execute") == _SYNC:
            arguments = msg.get("arguments")
            self._number = arguments.get("id") if isinstance(arguments, dict) else None
            self._in_step = False
            self._writer.write(_SENTINEL)
        self._writer.write(bytes(msg) + b"\n")

    async def _do_recv(self) -> Message:
        while True:
            line = await read_line(self._readline())
            message = read_message(line) if self._in_step else self._echo(line)
            if message is not None and "event" not in message:
                message.setdefault("id", self._id)
                return message

    def _echo(self, line: bytes) -> Message | None:
        """The answer to the number; None: it is old, or no JSON."""
        _, sentinel, rest = line.rpartition(_SENTINEL)
        try:
            message = read_message(rest)
        except QMPError:
            return None
        echoed = sentinel and self._number is not None and message.get("return") == self._number
        refused = "error" in message and "id" in message and message["id"] == self._id
        self._in_step = bool(echoed or refused)
        return message if self._in_step else None


async def _connected_socket(path: str) -> socket.socket:
    """A socket that is connected, once the listener has room for one.

    asyncio takes a unix socket for connected also where the kernel said "try again" (a full backlog,
    and QEMU's and the agent's hold one).
    """
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.setblocking(False)  # noqa: FBT003 - Python's own signature
        while True:
            try:
                sock.connect(path)
            except BlockingIOError:
                await asyncio.sleep(_RETRY_S)
            else:
                return sock
    except BaseException:
        sock.close()
        raise


def _count(answer: object) -> int:
    if isinstance(answer, bool) or not isinstance(answer, int) or answer < 0:
        raise NoReply(f"the guest agent says {answer!r:.60} instead of a number of file systems")
    return answer


def _why(error: BaseException) -> str:
    """What lies at the bottom of qemu.qmp's error, in words."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause.strerror or str(cause)
        cause = cause.__cause__ or getattr(cause, "exc", None)
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


async def _end(client: QMPClient) -> None:
    try:
        await client.disconnect()
    except Exception:  # noqa: BLE001 - it ended by itself, whatever it says; that is what was wanted
        return
