"""How a run goes on, as values: which step, which phase, how many bytes, since when.

Rules: a step may be long, and then how far it is is told in bytes, where anything tells.  QEMU does for
a stream and for a merge; of a snapshot job it answers nothing until the job has ended (fact 2), and
what its process has written or read meanwhile has to do (`planner.host.process_io`).  Bytes in all are
an estimate: a guest that writes memory makes more of them, memory that is zero makes fewer.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from attrs import define, evolve, field, frozen

from planner.run.phases import Phase

__all__ = ["VERIFYING", "Amount", "Course", "Meter", "Progress", "ProgressKind"]

VERIFYING = "verifying"
"""The phase of a `verify`, which is no run."""


class ProgressKind(StrEnum):
    """What there is to be told."""

    PHASE = "phase"
    """The run enters a phase (`planner.run.phases`)."""
    STEP = "step"
    """A step is about to be sent."""
    BYTES = "bytes"
    """A step is under way, and so far."""
    NOTE = "note"
    """Something else that a user should see."""


@frozen
class Amount:
    """How far a run is.

    Attributes:
        phase: Its phase, by name.
        done_bytes: What the step in hand has moved; None: nothing tells, or it moves nothing.
        total_bytes: What it will have moved in the end, as far as is known now; None: not known.
    """

    phase: str
    done_bytes: int | None = None
    total_bytes: int | None = None


@frozen
class Progress:
    """One thing that a run tells.

    Attributes:
        kind: What it is about.
        text: In a sentence without its full stop.
        phase: Where the run is (`planner.run.phases`); empty: it has not begun.
        step: The number of the step in hand, from 1; 0: it is about none.
        steps: How many there are; 0: there are none.
        bytes_done: What the step in hand has moved so far; None: nothing tells, or it moves nothing.
        bytes_total: What it will have moved in the end, as far as is known now; None: not known.
        seconds: Since the beginning.
    """

    kind: ProgressKind
    text: str
    phase: str = ""
    step: int = 0
    steps: int = 0
    bytes_done: int | None = None
    bytes_total: int | None = None
    seconds: float = 0.0

    def __str__(self) -> str:
        line = f"step {self.step} of {self.steps}: {self.text}" if self.step else self.text
        if self.bytes_done is None:
            return line
        whole = "" if self.bytes_total is None else f" of {_mib(self.bytes_total)}"
        return f"{line}, {_mib(self.bytes_done)}{whole} MiB"


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f}"


@define
class Course:
    """Makes progress of what a `planner.run.ports.Reporter` is told, in its order."""

    _now: Progress = field(init=False, default=Progress(ProgressKind.PHASE, ""))

    def step(self, number: int, count: int, what: str) -> Progress:
        """A step is about to be sent."""
        phase = self._now.phase or Phase.STEPPING
        self._now = Progress(ProgressKind.STEP, what, phase, number, count)
        return self._now

    def note(self, text: str) -> Progress:
        """Something else, beside the step in hand."""
        return Progress(ProgressKind.NOTE, text, self._now.phase)

    def amount(self, amount: Amount) -> Progress:
        """How far the step in hand is, or that another phase begins."""
        if amount.phase != self._now.phase or amount.done_bytes is None:
            self._now = Progress(ProgressKind.PHASE, amount.phase, amount.phase)
            if amount.done_bytes is None:
                return self._now
        done, total = amount.done_bytes, amount.total_bytes
        return evolve(self._now, kind=ProgressKind.BYTES, bytes_done=done, bytes_total=total)


class Meter(Protocol):
    """Tells how many bytes a step has moved, where it is not QEMU that tells."""

    @property
    def total_bytes(self) -> int | None:
        """What there is to be moved, at most; None: not known."""
        ...

    def begin(self, *, reads: bool) -> None:
        """Count from now on, what is read or what is written."""
        ...

    def done_bytes(self) -> int | None:
        """What was moved since; None: it cannot be told."""
        ...
