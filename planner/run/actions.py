"""What the machine asks the pump to do, and what it is told in return: values, no I/O."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TypeVar

from attrs import field, frozen

from planner.program.gates import Gate

__all__ = [
    "Action",
    "AskAgent",
    "AtGate",
    "AwaitEvent",
    "Flow",
    "HostDo",
    "ListImage",
    "NoAnswer",
    "Poll",
    "Reconnect",
    "SINK",
    "RepairImage",
    "Response",
    "Returned",
    "Send",
    "Tell",
    "ErrorReply",
    "NotSent",
]


SINK = "sink"
"""In place of a file's path: one end of a socket that is made for it, and that nobody reads."""


@frozen
class Send:
    """Send a QMP command.  Told in return: `Returned`, `ErrorReply` or `NoAnswer`.

    Attributes:
        command: QMP's name of it.
        arguments: With live node names.
        timeout_s: How long to wait for the reply, in seconds.
        starts_deadline: Whether events awaited later are awaited within this same time.
        descriptor: Name of the file whose descriptor goes with it (`Host.descriptor`); or `SINK`.
        then: Questions that are sent right behind it, without waiting for its reply: QEMU takes
            commands in their order (fact 58), so they are answered as if they were asked afterwards,
            and one round trip does for all.
    """

    command: str
    arguments: Mapping[str, object] = field(factory=dict)
    timeout_s: float = 30.0
    starts_deadline: bool = False
    descriptor: str = ""
    then: tuple[Send, ...] = ()


@frozen
class HostDo:
    """Do something with files on the machine that QEMU runs on (`planner.run.ports.Host`).

    Told in return: `Returned` with what the host says, `ErrorReply` where it was not done, `NoAnswer`
    where it did not come to an end.

    Attributes:
        instruction: What.
        arguments: With what.
        timeout_s: For how long at the most, in seconds.
    """

    instruction: str
    arguments: Mapping[str, object] = field(factory=dict)
    timeout_s: float = 120.0


@frozen
class AskAgent:
    """Ask the guest agent (`planner.run.ports.Agent`), on its own socket.

    Told in return: `Returned` with what it says, `ErrorReply` where it refused, `NoAnswer`.

    Attributes:
        command: A freeze, a thaw, or a question for the status, by the agent's name of it.
        timeout_s: For how long at the most, in seconds.
        freezes_for_s: For a freeze: from now on whatever is asked for ends without an answer once so
            many seconds are over, until a thaw is asked for; 0: nothing is bounded.
    """

    command: str
    timeout_s: float
    freezes_for_s: float = 0.0


@frozen
class Poll:
    """Wait for an event or a time, whichever is first, to ask again then.

    Told in return: `Returned`; `NoAnswer` once the deadline of the last `Send` that started one has
    passed, or the connection is gone.
    """

    every_s: float


@frozen
class AwaitEvent:
    """Wait for any event.  Told in return: `Returned` or `NoAnswer`.

    Attributes:
        within_s: For how long; None: until the deadline of the last `Send` that started one.
    """

    within_s: float | None = None


@frozen
class Reconnect:
    """Connect anew.  Told in return: `Returned`, or `NoAnswer` where nobody answers."""

    timeout_s: float


@frozen
class ListImage:
    """List the snapshots of an image whose VM is gone.  Told: `Returned`, `NoAnswer`."""

    filename: str


@frozen
class RepairImage:
    """Delete one snapshot from an image whose VM is gone, by its id and name."""

    filename: str
    name: str
    snapshot_id: str


@frozen
class Tell:
    """Tell the user.  ``step`` 0: a note beside the steps.

    Told in return: `Returned` with the time on QEMU's host in microseconds; 0 where it is not known.
    """

    text: str
    step: int = 0
    count: int = 0


@frozen
class AtGate:
    """Wait for the other members of the group (`planner.run.ports.Gates`).

    Told in return: `Returned` once the gate is open, `NotSent` where the group is given up.
    """

    gate: Gate


Action = (
    Send
    | HostDo
    | AskAgent
    | AtGate
    | Poll
    | AwaitEvent
    | Reconnect
    | ListImage
    | RepairImage
    | Tell
)


@frozen
class Returned:
    """It was done, and this came back.

    Attributes:
        value: What.
        then: What came of the questions behind a `Send`, one for each; empty: they were not asked.
    """

    value: object = None
    then: tuple[Response, ...] = ()


@frozen
class ErrorReply:
    """QEMU answered with an error: it was not done."""

    error_class: str
    description: str


@frozen
class NotSent(ErrorReply):
    """It was not even sent, so it was not done; the class is a stable code of ours."""


@frozen
class NoAnswer:
    """Nobody knows whether it was done.

    Attributes:
        why: In a clause.
        lost: Whether the connection is gone; else only the deadline passed.
        dead: Whether nobody listens at the address any more.
    """

    why: str
    lost: bool
    dead: bool = False


Response = Returned | ErrorReply | NoAnswer

_Value = TypeVar("_Value")
Flow = Generator[Action, Response, _Value]
"""Asks for actions, is told of each what came of it, and has a value in the end."""
