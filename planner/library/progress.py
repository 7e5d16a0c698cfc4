"""How a run goes on, as values: for a tool's own bar, log or log line."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import define, evolve, field

from planner.run.progress import Amount, Course, Progress, ProgressKind

__all__ = ["OnProgress", "Progress", "ProgressKind", "ProgressReporter"]

OnProgress = Callable[[Progress], object]


@define
class ProgressReporter:
    """A `planner.run.ports.Reporter` that calls a tool back; one that raises is not called again."""

    on_progress: OnProgress
    _began_s: float = field(factory=time.monotonic)
    _course: Course = field(init=False, factory=Course)

    def step(self, number: int, count: int, what: str) -> None:
        """Tell of a step that is about to be sent."""
        self._tell(self._course.step(number, count, what))

    def note(self, text: str) -> None:
        """Tell of something else."""
        self._tell(self._course.note(text))

    def amount(self, amount: Amount) -> None:
        """Tell of a phase, or of how far the step in hand is."""
        self._tell(self._course.amount(amount))

    def _tell(self, progress: Progress) -> None:
        self.on_progress(evolve(progress, seconds=time.monotonic() - self._began_s))
