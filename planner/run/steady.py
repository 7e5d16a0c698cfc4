"""A connection that comes back to the same QEMU, or to none.

A run that loses its connection connects anew.  By then its QEMU may have been started again at the same
socket, and is another one, with other nodes and a guest that was never paused; or the socket is gone and
QEMU is not.  What is said here of a QEMU that is gone is proved (`planner.recover.gone` does it for runs
that were killed).
"""

from __future__ import annotations

from planner.errors import CannotConnect, Problem
from planner.host.processes import Process, lives, process_of
from planner.run.forwarding import ForwardingBackend
from planner.run.ports import Backend

__all__ = ["SteadyBackend"]


class SteadyBackend(ForwardingBackend):
    """A `planner.run.ports.Backend` that is one QEMU, however often it connects.

    Args:
        backend: Connected to it.
        process: Which process it is; None: it cannot be told, and then it is never said to be gone.
    """

    def __init__(self, backend: Backend, process: Process | None) -> None:
        super().__init__(backend)
        self._process = process
        self._peer = process_of(backend.peer_pid or 0)

    async def connect(self, timeout_s: float) -> None:
        """Connect anew; ``nobody-listens`` means here that the QEMU is gone.

        Raises:
            CannotConnect: It is gone (``nobody-listens``); nobody listens, and it may live
                (``qemu-alive``, ``death-unproved``); or who listens now is not it.
        """
        try:
            await self.inner.connect(timeout_s)
        except CannotConnect as error:
            if error.code != "nobody-listens" or self._gone():
                raise
            raise self._may_live("nothing listens there now") from error
        if self._gone():
            await self.inner.close()
            problem = Problem("nobody-listens", "vm", "another QEMU listens there now", "")
            raise CannotConnect.of(problem)
        peer = process_of(self.inner.peer_pid or 0)
        if self._process is not None and self._peer == self._process and peer != self._peer:
            await self.inner.close()
            raise self._may_live("another process listens there now")

    def _gone(self) -> bool:
        return self._process is not None and lives(self._process) is False

    def _may_live(self, why: str) -> CannotConnect:
        if self._process is None:
            problem = Problem("death-unproved", "vm", f"{why}, and QEMU may live", "")
        else:
            words = f"{why}, and QEMU (process {self._process.pid}) lives"
            problem = Problem("qemu-alive", "vm", words, "recover through another socket of it")
        return CannotConnect.of(problem)
