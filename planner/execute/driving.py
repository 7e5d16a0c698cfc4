"""Pumps any machine that keeps to `planner.execute.driven.Driven`: the I/O of `load` and `delete`."""

from __future__ import annotations

from planner.execute.driven import Driven
from planner.execute.ports import Backend, Clock, Host, Images, Reporter
from planner.execute.pump import Pump
from planner.execute.recorder import Recorder
from planner.execute.telling import telling

__all__ = ["MachinePump"]


class MachinePump(Pump):
    """Runs one machine on one connected backend; see `planner.execute.pump.Pump`.

    Args:
        machine: Not started, or one that stands where a journal ends (`Pump.go_on`).
        backend: Connected to the VM.
        images: Its images, where this machine can reach them.
        host: The machine that QEMU runs on, where that is this one.
        clock: The clock of QEMU's host, where that is this machine.
        reporter: Who is told of the progress.
        recorder: Who writes the journal; None: nobody.
    """

    def __init__(  # noqa: PLR0913 - each is a port of its own
        self,
        machine: Driven,
        backend: Backend,
        *,
        images: Images | None = None,
        host: Host | None = None,
        clock: Clock | None = None,
        reporter: Reporter | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._machine = machine
        self._recorder = recorder
        self._interrupted = False
        self._backend = backend
        self._images = images
        self._host = host
        self._agent = None
        self._clock = clock
        self._reporter = telling(reporter)
        self._deadline = 0.0
        self._frozen_until = None
        self._pause_budget_ms = None
        self._stopped_at = None
