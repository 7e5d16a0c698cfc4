"""A conversation with QEMU that survives a lost connection.

A question changes nothing, so it may be asked again: after a lost connection on a new one.  A command
that changes something is sent once; what became of it is asked, never assumed.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define

from planner.errors import Problem
from planner.model.replies import run_state_of
from planner.run.actions import (
    ErrorReply,
    Flow,
    NoAnswer,
    NotSent,
    Reconnect,
    Response,
    Returned,
    Send,
)
from planner.run.outcome import Failure

__all__ = [
    "GRACE_S",
    "ROUNDS",
    "Conversation",
    "Gone",
    "Silent",
    "StepFailed",
    "answers",
]

RECONNECT_S = 10.0
ROUNDS = 3
GRACE_S = 60.0


class StepFailed(Exception):
    """A run cannot go on; it carries why, as data."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


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


@define(kw_only=True)
class Conversation:
    """What is known of the connection, and of what was said on it.

    Attributes:
        holds_pause: Whether the guest must not run now: a RESUME would be somebody else's.
        sent_stop: Whether something was sent that pauses the guest.
        sent_cont: Whether ``cont`` was sent.
        connected: Whether the connection was there when last used.
        where: What is being done, for messages.
    """

    holds_pause: bool = False
    sent_stop: bool = False
    sent_cont: bool = False
    connected: bool = True
    where: str = ""

    @property
    def may_stand(self) -> bool:
        """Whether the guest may stand because of this run."""
        return self.sent_stop and not self.sent_cont

    def failed(self, code: str, message: str) -> StepFailed:
        """The failure of what is being done."""
        return StepFailed(Failure(code, self.where, message))

    def answer(self, send: Send) -> Flow[Response]:
        """Send what may be sent twice, on a new connection where the old one is lost.

        Returns:
            What it answers, an error too; never `NoAnswer`.

        Raises:
            Gone: Nobody listens any more.
            Silent: No answer came.
        """
        why = ""
        for _ in range(ROUNDS):
            if not self.connected:
                yield from self.reconnect()
            response: Response = yield send
            if not isinstance(response, NoAnswer):
                return response
            why = response.why
            self.connected = not response.lost
        raise Silent(why)

    def once(self, command: str, arguments: Mapping[str, object] | None = None) -> Flow[Response]:
        """Send what must not be sent twice unseen: with `NoAnswer` nobody knows what became of it."""
        response: Response = yield Send(command, arguments or {}, GRACE_S)
        self.note_lost(response)
        return response

    def note_lost(self, response: Response) -> None:
        """Note what a response says of the connection."""
        if isinstance(response, NoAnswer):
            self.connected = not response.lost

    def reconnect(self) -> Flow[None]:
        """Connect anew; raises `Gone` where nobody listens, `Silent` where nobody answers."""
        response = yield Reconnect(RECONNECT_S)
        if isinstance(response, Returned):
            self.connected = True
        elif isinstance(response, NoAnswer) and response.dead:
            raise Gone
        else:
            raise Silent("the connection cannot be made again")

    def ask(self, command: str, arguments: Mapping[str, object] | None = None) -> Flow[object]:
        """Ask a question, on a new connection where the old one is lost.

        Raises:
            StepFailed: QEMU refuses to answer it.
            Gone: Nobody listens any more.
            Silent: No answer came.
        """
        response = yield from self.answer(Send(command, arguments or {}, GRACE_S))
        if isinstance(response, ErrorReply):
            raise self.refused(response)
        return response.value if isinstance(response, Returned) else None

    def refused(self, response: ErrorReply) -> StepFailed:
        """The error for what QEMU refused, or what was not even sent to it: then its reason is ours."""
        if isinstance(response, NotSent):
            return self.failed(response.error_class, response.description)
        code = "command-lacking" if lacks_command(response) else "command-refused"
        return self.failed(code, f"QEMU says: {response.description}")

    def run_state(self) -> Flow[str]:
        """The VM's run state; the errors are those of `ask`."""
        return run_state_of((yield from self.ask("query-status")))

    def bring_to(self, command: str, wanted: str) -> Flow[str]:
        """Stop or continue the guest, and see that it is; the run state then.

        Both commands may be sent twice, so one of unknown outcome is looked at and sent again.

        Raises:
            StepFailed: QEMU refuses, or the VM is in another run state.
        """
        found = ""
        for _ in range(ROUNDS):
            if not self.connected:
                yield from self.reconnect()
            if command == "cont":
                self.holds_pause = False
                self.sent_cont = True
            else:
                self.sent_stop = True
            response = yield from self.once(command)
            if isinstance(response, ErrorReply):
                raise self.refused(response)
            found = yield from self.run_state()
            if found == wanted or isinstance(response, Returned):
                break
        if found != wanted:
            raise self.failed(
                "run-state-unexpected", f"the VM is {found!r} and should be {wanted!r}"
            )
        return found


def lacks_command(response: Response) -> bool:
    """Whether the peer says that it has no such command: a storage daemon has no `stop` (fact 120)."""
    return isinstance(response, ErrorReply) and response.error_class == "CommandNotFound"


def answers(send: Send) -> Flow[tuple[Response, ...]]:
    """Send a command and the questions behind it.

    Returns:
        What came of each, up to the first of which nothing did.
    """
    first: Response = yield send
    told = [first]
    if isinstance(first, Returned):
        told += first.then[: len(send.then)]
    for each in send.then[len(told) - 1 :]:  # whoever did not send them is asked to, one by one
        if not isinstance(told[-1], Returned):
            break
        told.append((yield each))
    return tuple(told)
