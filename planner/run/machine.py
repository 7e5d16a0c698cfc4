"""What all machines share: a flow of actions, and questions that survive a lost connection.

A machine does one run (a save, a load, a delete) without I/O: it takes values in, gives actions and in
the end an outcome, and nothing else.  From the same order, responses and events it asks for the same
actions again, so that a journal of them can be replayed.

A question changes nothing, so it may be asked again: after a lost connection on a new one.  A command
that changes something is sent once; what became of it is asked, never assumed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from typing import TypeVar

from attrs import define, field

from planner.errors import InternalError, Problem
from planner.model.replies import run_state_of
from planner.run.actions import (
    Action,
    ErrorReply,
    NoAnswer,
    Reconnect,
    Response,
    Returned,
    Send,
)
from planner.run.outcome import Outcome
from planner.run.phases import ENDS
from planner.run.ports import Event
from planner.run.run_context import RunContext

__all__ = ["Flow", "Gone", "Machine", "Silent"]

RECONNECT_S = 10.0
ROUNDS = 3
GRACE_S = 60.0

_Value = TypeVar("_Value")
Flow = Generator[Action, Response, _Value]


class Gone(Exception):
    """Nobody listens at the VM's address any more."""


class Silent(Exception):
    """The VM does not answer."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def problem(self) -> Problem:
        """The same as data."""
        return Problem("vm-silent", "vm", self.why, "ask it again later")


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

    def _ask(self, command: str, arguments: dict[str, object] | None = None) -> Flow[object]:
        """Ask a question, on a new connection where the old one is lost.

        Raises:
            StepFailed: QEMU refuses to answer it.
            Gone: Nobody listens any more.
            Silent: No answer came.
        """
        response = yield from self._answer(Send(command, arguments or {}, GRACE_S))
        if isinstance(response, ErrorReply):
            raise self.context.failed("command-refused", f"QEMU says: {response.description}")
        return response.value if isinstance(response, Returned) else None

    def _answer(self, send: Send) -> Flow[Response]:
        """Send what may be sent twice, on a new connection where the old one is lost.

        Returns:
            What it answers, an error too; never `NoAnswer`.

        Raises:
            Gone: Nobody listens any more.
            Silent: No answer came.
        """
        why = ""
        for _ in range(ROUNDS):
            if not self.context.connected:
                yield from self._reconnect()
            response: Response = yield send
            if not isinstance(response, NoAnswer):
                return response
            why = response.why
            self.context.connected = not response.lost
        raise Silent(why)

    def _reconnect(self) -> Flow[None]:
        response = yield Reconnect(RECONNECT_S)
        if isinstance(response, Returned):
            self.context.connected = True
        elif isinstance(response, NoAnswer) and response.dead:
            raise Gone
        else:
            raise Silent("the connection cannot be made again")

    def _run_state(self) -> Flow[str]:
        return run_state_of((yield from self._ask("query-status")))

    def _bring_to(self, command: str, wanted: str) -> Flow[str]:
        """Stop or continue the guest, and see that it is; the run state then.

        Both commands may be sent twice, so one of unknown outcome is looked at and sent again.

        Raises:
            StepFailed: QEMU refuses, or the VM is in another run state.
        """
        found = ""
        for _ in range(ROUNDS):
            if not self.context.connected:
                yield from self._reconnect()
            if command == "cont":
                self.context.holds_pause = False
                self.context.sent_cont = True
            else:
                self.context.sent_stop = True
            response = yield Send(command, {}, GRACE_S)
            if isinstance(response, ErrorReply):
                raise self.context.failed("command-refused", f"QEMU says: {response.description}")
            if isinstance(response, NoAnswer):
                self.context.connected = not response.lost
            found = yield from self._run_state()
            if found == wanted or isinstance(response, Returned):
                break
        if found != wanted:
            raise self.context.failed(
                "run-state-unexpected", f"the VM is {found!r} and should be {wanted!r}"
            )
        return found
