"""What comes out of the semantics: events, errors, results, and the micro-steps of big commands.

Rules: all of it is frozen and hashable data, so that an explorer can keep it, compare it and print
it.  A `MicroStep` is data too: what is still to be done lives in the state, not in a generator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from planner.semantics.state import VmState

__all__ = [
    "NOT_MODELLED",
    "QmpEvent",
    "InjectedFailure",
    "MicroStep",
    "StepEffect",
    "QmpError",
    "CommandResult",
    "StepTrace",
    "generic",
]

NOT_MODELLED = "the simulator does not model"
"""How an error begins that is ours and none of QEMU's: nothing was done."""


@frozen
class QmpEvent:
    """One QMP event; its members are flat, so they are kept as pairs."""

    name: str
    data: tuple[tuple[str, str | int | bool], ...] = ()

    def message(self) -> dict[str, object]:
        """The event as QMP sends it, without its timestamp."""
        if not self.data:
            return {"event": self.name}
        return {"event": self.name, "data": dict(self.data)}


@frozen
class QmpError:
    """An error reply: QEMU's class and its text."""

    error_class: str
    desc: str

    def message(self) -> dict[str, object]:
        """What is in the reply's ``error``."""
        return {"class": self.error_class, "desc": self.desc}


def generic(desc: str) -> QmpError:
    """An error of the class GenericError, which is nearly all of them."""
    return QmpError("GenericError", desc)


@frozen(cache_hash=True)
class MicroStep:
    """One small indivisible piece of a big command, as data.

    Attributes:
        op: What it does; the key of `steps.HANDLERS`.
        node: The node it works on, where there is one.
        tag: Snapshot name, where there is one.
        job: The job it belongs to, empty for transactions and migrations.
        detail: Whatever else it needs: an id, an overlay's name, an error's text.
        number: Position in the transaction or the device list.
    """

    op: str
    node: str = ""
    tag: str = ""
    job: str = ""
    detail: str = ""
    number: int = 0

    def __str__(self) -> str:
        return " ".join(filter(None, (self.op, self.node, self.tag and repr(self.tag))))


@frozen
class InjectedFailure:
    """A fault that strikes a micro-step: it fails as it would in QEMU, with this error text."""

    text: str = "Input/output error"


@frozen
class StepEffect:
    """What one micro-step did.

    Attributes:
        state: The state after it.
        events: The events it sent.
        reply: The command's return value, if this step answered the command.
        error: The command's error, if this step answered it so.
    """

    state: VmState
    events: tuple[QmpEvent, ...] = ()
    reply: object | None = None
    error: QmpError | None = None


@frozen
class CommandResult:
    """What a whole command did.

    Attributes:
        state: The state after it.
        reply: The return value (shared: to be read, not changed); None with an error, and where
            QEMU died before it answered.
        error: The error reply, if it was refused.
        events: The events, in QEMU's order.
        events_before_reply: How many of them surely come before the reply.  The others may come
            on either side of it (fact 4).
    """

    state: VmState
    reply: object | None = None
    error: QmpError | None = None
    events: tuple[QmpEvent, ...] = ()
    events_before_reply: int = 0


@frozen
class StepTrace:
    """One micro-step that was taken, for stories and diagrams; with the answer, if it gave it."""

    step: MicroStep
    state: VmState
    events: tuple[QmpEvent, ...] = ()
    reply: object | None = None
    error: QmpError | None = None
