"""A connection that comes back to the same QEMU, or to none.

A run that loses its connection connects anew.  By then its QEMU may have been started again at the same
socket, and is another one, with other nodes and a guest that was never paused; or the socket is gone and
QEMU is not.  What is said here of a QEMU that is gone is proved (`planner.recover.gone` does it for runs
that were killed).
"""

from __future__ import annotations

from collections.abc import Mapping

from planner.errors import CannotConnect, Problem
from planner.host.processes import Process, lives, process_of
from planner.run.ports import Backend, Event, Host, Images

__all__ = ["SteadyBackend"]


class SteadyBackend:
    """A `planner.run.ports.Backend` that is one QEMU, however often it connects.

    Args:
        backend: Connected to it.
        process: Which process it is; None: it cannot be told, and then it is never said to be gone.
    """

    def __init__(self, backend: Backend, process: Process | None) -> None:
        self._backend = backend
        self._process = process
        self._peer = process_of(backend.peer_pid or 0)

    @property
    def images(self) -> Images | None:
        """See `planner.run.ports.Backend.images`."""
        return self._backend.images

    @property
    def host(self) -> Host | None:
        """See `planner.run.ports.Backend.host`."""
        return self._backend.host

    @property
    def peer_pid(self) -> int | None:
        """See `planner.run.ports.Backend.peer_pid`."""
        return self._backend.peer_pid

    async def connect(self, timeout_s: float) -> None:
        """Connect anew; ``nobody-listens`` means here that the QEMU is gone.

        Raises:
            CannotConnect: It is gone (``nobody-listens``); nobody listens, and it may live
                (``qemu-alive``, ``death-unproved``); or who listens now is not it.
        """
        try:
            await self._backend.connect(timeout_s)
        except CannotConnect as error:
            if error.code != "nobody-listens" or self._gone():
                raise
            raise self._may_live("nothing listens there now") from error
        if self._gone():
            await self._backend.close()
            problem = Problem("nobody-listens", "vm", "another QEMU listens there now", "")
            raise CannotConnect(problem.words, problems=(problem,), code=problem.code)
        peer = process_of(self._backend.peer_pid or 0)
        if self._process is not None and self._peer == self._process and peer != self._peer:
            await self._backend.close()
            raise self._may_live("another process listens there now")

    def _gone(self) -> bool:
        return self._process is not None and lives(self._process) is False

    def _may_live(self, why: str) -> CannotConnect:
        if self._process is None:
            problem = Problem("death-unproved", "vm", f"{why}, and QEMU may live", "")
        else:
            words = f"{why}, and QEMU (process {self._process.pid}) lives"
            problem = Problem("qemu-alive", "vm", words, "recover through another socket of it")
        return CannotConnect(problem.words, problems=(problem,), code=problem.code)

    async def execute(
        self, command: str, arguments: Mapping[str, object], timeout_s: float
    ) -> object:
        """See `planner.run.ports.Backend.execute`."""
        return await self._backend.execute(command, arguments, timeout_s)

    async def execute_with_descriptor(
        self, command: str, arguments: Mapping[str, object], descriptor: int, timeout_s: float
    ) -> object:
        """See `planner.run.ports.Backend.execute_with_descriptor`."""
        return await self._backend.execute_with_descriptor(
            command, arguments, descriptor, timeout_s
        )

    async def wait_for_event(self, timeout_s: float) -> None:
        """See `planner.run.ports.Backend.wait_for_event`."""
        await self._backend.wait_for_event(timeout_s)

    def pending_events(self) -> tuple[Event, ...]:
        """See `planner.run.ports.Backend.pending_events`."""
        return self._backend.pending_events()

    async def close(self) -> None:
        """See `planner.run.ports.Backend.close`."""
        await self._backend.close()
