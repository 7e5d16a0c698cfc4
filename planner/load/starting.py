"""A fresh QEMU for a restore: started, used, and ended again where that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from planner.errors import Problem, SnapplanError
from planner.load.restoring import Disks
from planner.run.ports import Backend
from planner.run.stopping import to_its_end

__all__ = ["Launch", "StartedQemu", "start_and_use"]

_START_S = 60.0
_Result = TypeVar("_Result")


class StartedQemu(Protocol):
    """A QEMU that was started for a restore; it is ours until it is left."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    def said(self) -> str:
        """The last of what it wrote to its outputs."""
        ...

    async def connect(self, socket: str, timeout_s: float) -> Backend:
        """Connect as soon as it listens.

        Raises:
            RunFailed: It ended, or did not listen in time (``qemu-not-started``).
        """
        ...

    def end(self) -> None:
        """End it, whatever it does."""
        ...

    def wait(self, timeout_s: float) -> None:
        """Wait until it has ended by itself, so long at most."""
        ...

    def leave(self) -> None:
        """Let it go on without us."""
        ...


Launch = Callable[[Sequence[str], str], Awaitable[StartedQemu]]
"""Starts QEMU by the words of its command line; it is to listen at the socket."""


async def start_and_use(  # noqa: PLR0913, PLR0917 - what a start is done with
    launch: Launch,
    words: Sequence[str],
    socket: str,
    use: Callable[[Backend], Awaitable[_Result]],
    disks: Disks,
    record: Callable[[int], None] | None = None,
) -> tuple[StartedQemu, _Result]:
    """Start a QEMU and use it; where that fails it is ended, and the disks are taken back.

    Args:
        launch: Starts it.
        words: Its command line.
        socket: Where it is to listen.
        use: What is done with it.
        disks: What it is started on.
        record: Is told of its process before its guest can run.

    Raises:
        RunFailed: It failed, with what QEMU said; no new file is left (`UndoIncomplete`: one is, or a
            disk was reverted).
    """
    started: StartedQemu | None = None
    try:
        started = await launch(words, socket)
        backend = await started.connect(socket, _START_S)
        if record is not None:
            record(backend.peer_pid or started.pid)
        try:
            return started, await use(backend)
        finally:
            await backend.close()
    except BaseException as error:
        said = started.said() if started is not None else ""
        if started is not None:
            started.end()
        if isinstance(error, asyncio.CancelledError):
            await disks.take_back_for_stop()
            raise
        cause = _cause(error, said)
        failure = await to_its_end(disks.failure(cause, cause.message))
        if not isinstance(error, SnapplanError):
            raise  # a bug: the disks are taken back all the same
        failure.problems = (*error.problems, *failure.problems)
        raise failure from error


def _cause(error: BaseException, said: str) -> Problem:
    words = error.message if isinstance(error, SnapplanError) else str(error)
    code = error.code if isinstance(error, SnapplanError) else "restore-failed"
    also = f"; QEMU says: {said}" if said and said not in words else ""
    return Problem(code, "vm", f"{words}{also}")
