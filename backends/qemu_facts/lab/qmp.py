"""A small synchronous QMP client for tests.

It shares no code with `backends.qemu` and none with qemu.qmp, so that a bug in either cannot hide
itself. Its rules:

- One thread; bytes are read only while somebody waits for something, always with a deadline.
- Every message is kept in `log` in the order in which QEMU sent it, so a test can ask what came
  first. Events are in `events` too.
- Nothing is ever proved by the passing of time: waits are for an event or a reply, and a wait that
  ends at its deadline fails the test with what was seen instead.
"""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["QmpClient", "QmpError", "QmpClosed", "QmpTimeout"]

Message = dict[str, Any]


class QmpError(Exception):
    """QEMU refused a command: `error_class` and `desc` are QEMU's words."""

    def __init__(self, error_class: str, desc: str) -> None:
        super().__init__(f"{error_class}: {desc}")
        self.error_class = error_class
        self.desc = desc


class QmpClosed(Exception):
    """The other side closed the connection: QEMU ended, or dropped us."""


class QmpTimeout(AssertionError):
    """What a test waited for did not come before its deadline."""


class QmpClient:
    """One QMP connection over a unix socket, past its greeting and negotiation."""

    def __init__(self, path: Path, *, timeout_s: float = 30.0) -> None:
        self.path = path
        self.log: list[Message] = []
        self.events: list[Message] = []
        self._received = b""
        self._next_id = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(str(path))
            self.greeting: Message = self._read(time.monotonic() + timeout_s)
            self.execute("qmp_capabilities", timeout_s=timeout_s)
        except BaseException:
            self.close()
            raise

    @property
    def version(self) -> tuple[int, int]:
        """QEMU's version (major, minor), from its greeting."""
        version: dict[str, int] = self.greeting["QMP"]["version"]["qemu"]
        return version["major"], version["minor"]

    def close(self) -> None:
        """Cut the connection, whatever is under way."""
        self._socket.close()

    def execute(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        /,
        *,
        timeout_s: float = 30.0,
        **more: object,
    ):
        """Send one command, wait for its reply and return what is in `return`.

        Arguments are a mapping, or keywords whose `_` stands for QEMU's `-`.

        Raises:
            QmpError: QEMU refused it.
            QmpClosed: the connection broke; what became of the command is not known.
            QmpTimeout: no reply yet.
        """
        return self.reply_to(self.send(command, arguments, **more), timeout_s=timeout_s)

    def send(
        self, command: str, arguments: Mapping[str, object] | None = None, /, **more: object
    ) -> int:
        """Send one command without waiting; the id returned is for `reply_to`."""
        self._next_id += 1
        named = {name.replace("_", "-"): value for name, value in more.items()}
        message: Message = {"execute": command, "arguments": {**(arguments or {}), **named}}
        message["id"] = self._next_id
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError) as error:
            raise QmpClosed(str(error)) from error
        return self._next_id

    def reply_to(self, command_id: int | str, *, timeout_s: float = 30.0):
        """Wait for the reply to the command of that id."""
        deadline = time.monotonic() + timeout_s
        for reply in self._messages(deadline, waiting_for=f"the reply to command {command_id}"):
            if reply.get("id") != command_id:
                continue
            if "error" in reply:
                raise QmpError(reply["error"]["class"], reply["error"]["desc"])
            return reply["return"]
        raise AssertionError("unreachable: _messages ends by raising")

    def mark(self) -> int:
        """A position in `events`: waits given it overlook what came before."""
        return len(self.events)

    def wait_event(
        self,
        name: str,
        predicate: Callable[[Mapping], bool] = lambda _data: True,
        *,
        since: int = 0,
        timeout_s: float = 30.0,
    ) -> Message:
        """Wait for an event by its name and its data; one that came since the mark counts."""

        def wanted(event: Message) -> bool:
            return event["event"] == name and predicate(event.get("data", {}))

        for event in self.events[since:]:
            if wanted(event):
                return event
        deadline = time.monotonic() + timeout_s
        for message in self._messages(deadline, waiting_for=f"the event {name}"):
            if "event" in message and wanted(message):
                return message
        raise AssertionError("unreachable: _messages ends by raising")

    def wait_until(
        self, condition: Callable[[], object], what: str, *, timeout_s: float = 30.0
    ) -> None:
        """Ask again and again until the condition holds: for states that have no event."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise QmpTimeout(f"not reached in {timeout_s} s: {what}")
            time.sleep(0.005)  # between questions; the deadline is the only judge

    def drain(self) -> None:
        """Take in what QEMU has sent so far: a command's reply is behind all of it."""
        self.execute("query-name")

    def send_line(self, line: bytes, descriptor: int) -> None:
        """Send a whole command with a descriptor; its reply is waited for by its id."""
        socket.send_fds(self._socket, [line + b"\n"], [descriptor])

    def _messages(self, deadline: float, *, waiting_for: str):
        while True:
            try:
                yield self._read(deadline)
            except TimeoutError:
                tail = json.dumps(self.log[-8:])
                raise QmpTimeout(f"waited for {waiting_for}; the last messages: {tail}") from None

    def _read(self, deadline: float) -> Message:
        while b"\n" not in self._received:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise TimeoutError
            self._socket.settimeout(remaining_s)
            with contextlib.suppress(ConnectionResetError):
                chunk = self._socket.recv(1 << 16)
                if chunk:
                    self._received += chunk
                    continue
            raise QmpClosed(f"QEMU closed {self.path.name}")
        line, self._received = self._received.split(b"\n", 1)
        message: Message = json.loads(line)
        self.log.append(message)
        if "event" in message:
            self.events.append(message)
        return message
