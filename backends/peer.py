"""What every backend does whose peer is QEMU itself, however its words get there and back.

Rules: events are taken in the order in which they came; those that no run waits for are not kept.  Where
QEMU runs on this machine, its files are called by names that mean them here.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from backends.descriptor_names import files_of_sets, names_a_set
from backends.host import QemuHost
from backends.images import QemuImages
from backends.logged import log_answer, log_command
from backends.relative_names import TELLS_FILES, from_the_root
from backends.storage_daemon import ANSWERED_FOR_DAEMONS, answer_for_daemon
from planner.run.ports import CommandRefused, Event, NoReply

__all__ = ["HEARD_EVENTS", "PeerBackend", "event_of"]

HEARD_EVENTS = frozenset(
    {
        *("STOP", "RESUME", "SHUTDOWN", "RESET", "SUSPEND", "WAKEUP", "MIGRATION"),
        *("JOB_STATUS_CHANGE", "BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED", "BLOCK_JOB_ERROR"),
        *("BLOCK_JOB_READY", "BLOCK_JOB_PENDING"),
    }
)
"""What a run waits for, or must know of; what a guest can cause at will is not among them."""
_US_PER_S = 1_000_000


class PeerBackend(ABC):
    """A `planner.run.ports.Backend` but for how a command reaches QEMU, and how events come."""

    def __init__(self) -> None:
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

    @abstractmethod
    async def _ask(self, command: str, arguments: Mapping[str, object]) -> object:
        """Send a command and wait for its reply, for as long as that takes.

        Raises:
            CommandRefused: QEMU answered with an error.
            ConnectionLost: The connection ended first, or there is none.
        """

    @abstractmethod
    def _take(self) -> None:
        """Put what has arrived among the events."""

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
            self._host = self._make_host()
        return self._host

    def _make_host(self) -> QemuHost:
        """The host's files; a backend that knows more of its QEMU tells it."""
        return QemuHost()

    @property
    def peer_pid(self) -> int | None:
        """Who is at the other end; see `planner.run.ports.Backend.peer_pid`."""
        return self._peer_pid

    async def execute(
        self, command: str, arguments: Mapping[str, object], timeout_s: float
    ) -> object:
        """Send a command and wait for its reply; see `planner.run.ports.Backend.execute`."""
        log_command(command, arguments)
        with _logged(command):
            try:
                async with asyncio.timeout(timeout_s):
                    answer = await self._answer(command, arguments)
                    if command not in TELLS_FILES or not self.is_local:
                        return answer
                    return from_the_root(answer, self._peer_pid, await self._sets(answer))
            except TimeoutError as error:
                raise NoReply(f"no reply to {command} within {timeout_s:g} s") from error

    async def _answer(self, command: str, arguments: Mapping[str, object]) -> object:
        """A peer's answer; a storage daemon's, where it has none of its own."""
        if command in ANSWERED_FOR_DAEMONS:
            return await answer_for_daemon(self._ask, command, arguments)
        return await self._ask(command, arguments)

    async def _sets(self, answer: object) -> Callable[[str], str]:
        """What the names of descriptor sets in an answer mean."""
        if not names_a_set(answer):
            return str
        try:
            sets = await self._ask("query-fdsets", {})
        except CommandRefused:
            return str
        return files_of_sets(sets, self._peer_pid)

    def pending_events(self) -> tuple[Event, ...]:
        """Take what has arrived; see `planner.run.ports.Backend.pending_events`."""
        self._take()
        taken = tuple(self._events)
        self._events.clear()
        return taken


@contextmanager
def _logged(command: str) -> Iterator[None]:
    began_s = time.monotonic()
    try:
        yield
    except BaseException as error:
        log_answer(command, time.monotonic() - began_s, error)
        raise
    log_answer(command, time.monotonic() - began_s)


def event_of(message: Mapping[str, object]) -> Event:
    """An event as QEMU says it; one whose time cannot be read has none."""
    stamp = message.get("timestamp")
    at_us = 0
    if isinstance(stamp, Mapping):
        seconds, micros = stamp.get("seconds"), stamp.get("microseconds")
        if isinstance(seconds, int) and isinstance(micros, int):
            at_us = seconds * _US_PER_S + micros
    data = message.get("data")
    return Event(str(message.get("event")), data if isinstance(data, Mapping) else {}, at_us)
