"""How a run goes on, as values: for a tool's own bar, log or log line."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import define, field, frozen

__all__ = ["OnProgress", "Progress", "ProgressReporter"]


@frozen
class Progress:
    """What a run is about to do, or what happened in it.

    Attributes:
        text: In a sentence without its full stop.
        step: The number of the step that is about to be sent, from 1; 0: something else happened.
        steps: How many there are; 0 where `step` is 0.
        seconds: Since the run began.
    """

    text: str
    step: int = 0
    steps: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"step {self.step} of {self.steps}: {self.text}" if self.step else self.text


OnProgress = Callable[[Progress], object]


@define
class ProgressReporter:
    """A `planner.run.ports.Reporter` that calls a tool back; one that raises is not called again."""

    on_progress: OnProgress
    _began_s: float = field(factory=time.monotonic)

    def step(self, number: int, count: int, what: str) -> None:
        """Tell of a step that is about to be sent."""
        self.on_progress(Progress(what, number, count, time.monotonic() - self._began_s))

    def note(self, text: str) -> None:
        """Tell of something else."""
        self.on_progress(Progress(text, seconds=time.monotonic() - self._began_s))
