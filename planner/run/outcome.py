"""How a run ended, as data."""

from __future__ import annotations

from attrs import frozen

from planner.errors import (
    Interrupted,
    OutcomeUnknown,
    Problem,
    RunFailed,
    SnapplanError,
    UndoIncomplete,
)
from planner.parts.making import ShownPart
from planner.run.phases import Phase

__all__ = ["Failure", "Outcome", "failure_of"]

_LONGEST_US = 366 * 24 * 3600 * 1_000_000


_REMEDIES = {
    "file-exists": "choose another path, or move away what is there",
    "file-unwritable": "choose a path in a folder that is there and can be written to",
    "no-room": "make room there, or choose a path on another file system",
}


@frozen
class Failure:
    """Why a run did not finish.

    Attributes:
        code: Stable identifier.
        where: The step, or what else failed.
        message: In QEMU's words where it said any, with ours around them.
        interrupted: Whether it was the user's wish.
    """

    code: str
    where: str
    message: str
    interrupted: bool = False

    @property
    def cause(self) -> Problem:
        """The failure as a problem, with what can be done about it where the code says that."""
        return Problem(self.code, self.where, self.message, _REMEDIES.get(self.code, ""))


def failure_of(error: Exception, where: str) -> Failure:
    """What an error means for a run; a bug of ours is undone like any other failure."""
    if isinstance(error, SnapplanError):
        return Failure(error.code, where, error.message)
    return Failure("internal-error", where, f"a bug in snapplan: {type(error).__name__}: {error}")


@frozen
class Outcome:
    """The end of a run.

    Attributes:
        phase: Which of the ends it is.
        run_state: The VM's run state now; empty where the VM cannot be asked.
        parts: The snapshot's parts, as the VM showed them; empty unless done.
        failure: Why it did not finish; None when done.
        undone: What was undone, in order, in words.
        left: What is still there, or cannot be known.
        events: Names and times (microseconds, QEMU's clock) of the STOP and RESUME events seen.
    """

    phase: Phase
    run_state: str
    parts: tuple[ShownPart, ...] = ()
    failure: Failure | None = None
    undone: tuple[str, ...] = ()
    left: tuple[Problem, ...] = ()
    events: tuple[tuple[str, int], ...] = ()

    @property
    def pause_us(self) -> int | None:
        """From the first STOP to the last RESUME, in microseconds; None where not both were seen.

        It is QEMU's host that dates them: of a clock that was set meanwhile nothing can be told.
        """
        stops = [at for name, at in self.events if name == "STOP"]
        resumes = [at for name, at in self.events if name == "RESUME"]
        pause_us = resumes[-1] - stops[0] if stops and resumes else -1
        return pause_us if 0 <= pause_us <= _LONGEST_US else None

    def raise_failure(self) -> None:
        """Raise what the end amounts to; return where the run is done.

        Raises:
            RunFailed: It failed and was undone (or one of its more exact kinds).
        """
        if self.failure is None:
            return
        failure = self.failure
        raise self._kind()(
            f"{failure.where}: {failure.message}",
            problems=(failure.cause, *self.left),
            code=failure.code,
            vm_state=self._vm_state(),
            run_state=self.run_state,
            undone=self.undone,
            left=self.left,
            pause_us=self.pause_us,
        )

    def _kind(self) -> type[RunFailed]:
        if self.phase is Phase.UNKNOWN:
            return OutcomeUnknown
        if self.phase is Phase.INCOMPLETE:
            return UndoIncomplete
        return Interrupted if self.failure and self.failure.interrupted else RunFailed

    def _vm_state(self) -> str:
        state = f"The VM is {self.run_state}" if self.run_state else "The VM cannot be asked"
        undone = f"undone: {'; '.join(self.undone)}" if self.undone else "there was nothing to undo"
        if self.phase is Phase.UNKNOWN:
            return f"{state}; what became of the last step is not known."
        if self.phase is Phase.INCOMPLETE:
            return f"{state}; {undone}; not undone: see the problems."
        return f"{state}; {undone}; no part of the snapshot is left."
