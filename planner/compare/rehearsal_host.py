"""What is not there in a rehearsal: the host's files and the guest's agent; and what may go wrong.

Rules: no I/O and no clock.  A fault strikes before a thing is done, or after it.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import define, field

from planner.program.program import Step, Target
from planner.run.actions import AskAgent, ErrorReply, HostDo, NoAnswer, Response, Returned
from planner.run.freezing import FREEZE, STATUS, THAW

__all__ = ["StepFault", "RehearsedAgent", "RehearsedHost", "faults_of"]

_REMOVES = ("remove-", "merge-")


class StepFault(StrEnum):
    """What goes wrong with a step."""

    FAILS = "fails"
    """QEMU cannot do it, and says so."""
    LOST = "connection lost"
    """QEMU does it, and the connection breaks before the answer."""
    SILENT = "no answer"
    """The host does it, and does not say so in time."""


def faults_of(step: Step) -> tuple[StepFault, ...]:
    """What can go wrong with a step: a step on the host needs no connection."""
    if step.target is Target.HOST:
        return (StepFault.FAILS, StepFault.SILENT)
    return (StepFault.FAILS, StepFault.LOST)


@define
class RehearsedAgent:
    """A guest agent of a guest with one file system.

    Attributes:
        frozen: Whether that is frozen.
    """

    frozen: bool = False

    def answer(self, ask: AskAgent, fault: StepFault | None) -> Response:
        """Do what is asked for, unless a fault strikes it before."""
        if fault is StepFault.FAILS:
            return ErrorReply("GenericError", "it is made to fail")
        if ask.command == STATUS:
            return Returned("frozen" if self.frozen else "thawed")
        was, self.frozen = self.frozen, ask.command == FREEZE
        if fault is not None:
            return NoAnswer("the channel broke", lost=True)
        return Returned(int(was if ask.command == THAW else self.frozen))


@define
class RehearsedHost:
    """The machine that QEMU runs on.

    Attributes:
        files: Those of a run that are there, by path.
    """

    files: set[str] = field(factory=set)

    def answer(self, action: HostDo, fault: StepFault | None) -> Response:
        """Do something with files, unless a fault strikes it before."""
        if fault is StepFault.FAILS:
            return ErrorReply("file-unwritable", "it is made to fail")
        told = self._do(action)
        return Returned(told) if fault is None else NoAnswer("it took too long", lost=False)

    def _do(self, action: HostDo) -> dict[str, object]:
        path = str(action.arguments.get("path", ""))
        temporary = str(action.arguments.get("temporary", ""))
        if action.instruction in ("create-stream", "create-vmstate-image", "create-copy"):
            self.files.add(temporary)
        elif action.instruction == "create-overlay":
            self.files.add(path)
        elif action.instruction in ("keep-stream", "keep-copy"):
            self.files.discard(temporary)
            self.files.add(path)
            return {"size": 1}
        elif action.instruction.startswith(_REMOVES):
            gone = self.files & {path, temporary}
            self.files -= gone
            return {"removed": bool(gone)}
        return {}
