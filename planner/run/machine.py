"""What all machines share: a flow of actions, told one by one what came of each.

A machine does one run (a save, a load, a delete) without I/O: it takes values in, gives actions and in
the end an outcome, and nothing else.  From the same order, responses and events it asks for the same
actions again, so that a journal of them can be replayed.  How it talks to QEMU:
`planner.run.conversation`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from attrs import define, field

from planner.errors import InternalError
from planner.run.actions import (
    Action,
    ErrorReply,
    Flow,
    NoAnswer,
    Response,
    Returned,
)
from planner.run.outcome import Outcome
from planner.run.phases import ENDS
from planner.run.ports import Event
from planner.run.run_context import RunContext

__all__ = ["Machine"]


@define
class Machine(ABC):
    """A machine without I/O.

    Attributes:
        context: What it knows of the VM, and its phase.
    """

    context: RunContext
    _flow: Flow[Outcome] | None = field(init=False, default=None)

    def start(self) -> Action:
        """Begin; the first thing to do."""
        if self._flow is not None:
            raise InternalError("a run starts once", code="illegal-transition")
        self._flow = self._run()
        return next(self._flow)

    def tell(self, response: Response, events: Sequence[Event] = ()) -> Action | Outcome:
        """Say what came of the last action; the next thing to do, or the end.

        Args:
            response: What came of it.
            events: What QEMU said meanwhile, in order.
        """
        told = isinstance(response, Returned | ErrorReply | NoAnswer)
        if self._flow is None or self.context.phase in ENDS or not told:
            raise InternalError("nothing was asked for", code="illegal-transition")
        for event in events:
            self.context.note_event(event)
        try:
            return self._flow.send(response)
        except StopIteration as end:
            return self._ended(end.value)

    def _ended(self, outcome: Outcome) -> Outcome:
        """Remember how the flow ended, where that is needed later."""
        return outcome

    def interrupt(self) -> None:
        """The user wants it stopped: before the next thing that changes the VM."""
        self.context.interrupted = True

    def again(self) -> Action | Outcome:
        """Begin anew what ended unknown; what to do next.

        Raises:
            InternalError: It did not end so.
        """
        raise InternalError("there is nothing to do again", code="illegal-transition")

    def take_back(self) -> Action | Outcome:
        """Undo what the run made, though nothing failed; what to do next.

        Raises:
            InternalError: There is nothing that can be taken back.
        """
        raise InternalError("there is nothing to take back", code="illegal-transition")

    @abstractmethod
    def _run(self) -> Flow[Outcome]:
        """The whole of it."""
