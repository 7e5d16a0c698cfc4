"""Fresh QEMUs that wait for each other: none lets its guest run before all have read their state.

    started - connected - all? - machine state read - all? - guests go on - all? - left to themselves

A member that fails ends all.  Their links are made while they start: one listens and another connects,
and QEMU ends where nobody listens yet (fact 127), so one that ends so is started again for a while.
A guest that waited for its link when it was saved never sends again if it is loaded before that is
connected (fact 118), so the links are waited for.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from attrs import define, field

from planner.errors import InternalError, SnapplanError
from planner.load.starting import Launch, StartedQemu
from planner.run.ports import Backend, CommandRefused, ConnectionLost, NoReply

__all__ = ["all_or_the_first_error", "await_links", "launching_again"]

_Result = TypeVar("_Result")

NOBODY_LISTENS = "Failed to connect to"
"""What QEMU says of a link at whose other end nobody listens (fact 127)."""

_AGAIN_S = 10.0
_LINKS_S = 10.0
_COMMAND_TIMEOUT_S = 60.0
_DISCONNECTED = re.compile(r"disconnected:(?:unix:(?P<path>[^,]+)|tcp:.*:(?P<port>\d+))(?:,.*)?")
_EACH_S = 0.1


def launching_again(launch: Launch) -> Launch:
    """Start QEMUs that are linked: one whose link leads nowhere yet is started again for a while."""

    async def launched(words: Sequence[str], socket: str) -> StartedQemu:
        return _Again(launch, words, socket, await launch(words, socket))

    return launched


@define
class _Again:
    """A QEMU that is started again while the others are not there yet."""

    launch: Launch
    words: Sequence[str]
    socket: str
    started: StartedQemu
    until: float = field(factory=lambda: time.monotonic() + _AGAIN_S)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.started.pid

    def said(self) -> str:
        """The last of what it wrote to its outputs."""
        return self.started.said()

    async def connect(self, socket: str, timeout_s: float) -> Backend:
        """Connect as soon as it listens; see `StartedQemu`."""
        while True:
            try:
                return await self.started.connect(socket, timeout_s)
            except SnapplanError as error:
                if NOBODY_LISTENS not in error.message or time.monotonic() > self.until:
                    raise
            self.started.end()
            await asyncio.sleep(_EACH_S)
            self.started = await self.launch(self.words, self.socket)

    def end(self) -> None:
        """End it, whatever it does."""
        self.started.end()

    def wait(self, timeout_s: float) -> None:
        """Wait until it has ended by itself, so long at most."""
        self.started.wait(timeout_s)

    def leave(self) -> None:
        """Let it go on without us."""
        self.started.leave()


async def await_links(
    backend: Backend, others: Sequence[str], timeout_s: float = _LINKS_S
) -> tuple[str, ...]:
    """Wait until a QEMU's links to others are connected.

    Args:
        backend: It.
        others: The words of the others' command lines: a link is to one of them where its socket's path
            or port is named there.
        timeout_s: How long, in seconds.

    Returns:
        The names of those chardevs that are still not connected.
    """
    until = time.monotonic() + timeout_s
    while True:
        try:
            reply = await backend.execute("query-chardev", {}, _COMMAND_TIMEOUT_S)
        except (CommandRefused, ConnectionLost, NoReply):
            return ()  # what is asked next says it better
        cut = tuple(_cut_links(reply, others))
        if not cut or time.monotonic() > until:
            return cut
        await asyncio.sleep(_EACH_S)


def _cut_links(reply: object, others: Sequence[str]) -> Iterator[str]:
    for each in reply if isinstance(reply, list) else ():
        found = (
            _DISCONNECTED.fullmatch(str(each.get("filename"))) if isinstance(each, dict) else None
        )
        if found is None:
            continue
        path, port = found["path"], found["port"]
        named = re.escape(path) if path else rf"(?:port=|:){port}\b"
        if any(re.search(named, word) for word in others):
            yield str(each.get("label"))


async def all_or_the_first_error(
    works: Mapping[str, Callable[[], Awaitable[_Result]]],
) -> dict[str, _Result]:
    """Do works side by side; where one fails the others are cancelled, and have ended on return.

    Raises:
        Exception: What the first one raised that failed by itself.
    """
    first: list[Exception] = []
    tasks: dict[str, asyncio.Task[_Result]] = {}

    async def one(work: Callable[[], Awaitable[_Result]]) -> _Result:
        try:
            return await work()
        except Exception as error:
            first.append(error)
            raise

    try:
        async with asyncio.TaskGroup() as group:
            for name, work in works.items():
                tasks[name] = group.create_task(one(work))
    except BaseExceptionGroup:
        if not first:
            raise
    if first:
        raise first[0]
    if any(task.cancelled() for task in tasks.values()):
        raise InternalError("a member was cancelled, and none had failed")
    return {name: task.result() for name, task in tasks.items()}
