"""What a run needs from outside: a QMP peer, a guest agent, images of a dead VM, somebody to report to.

Rules: a backend never hides whether a command may have taken effect.  `CommandRefused` says that QEMU
answered with an error; `ConnectionLost` and `NoReply` say that nobody knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from attrs import frozen

from planner.model.facts import SnapshotInfo
from planner.program.gates import Gate
from planner.run.progress import Amount

__all__ = [
    "Agent",
    "Backend",
    "Clock",
    "CommandRefused",
    "ConnectionLost",
    "Event",
    "GateShut",
    "Gates",
    "Host",
    "HostRefused",
    "Images",
    "JournalFailed",
    "JournalStore",
    "NoReply",
    "Reporter",
]


@frozen
class Event:
    """An asynchronous QMP event.

    Attributes:
        name: QEMU's name of it.
        data: What it says.
        timestamp_us: When QEMU says that it happened, in microseconds since the epoch.
    """

    name: str
    data: Mapping[str, object]
    timestamp_us: int = 0


class CommandRefused(Exception):
    """QEMU answered a command with an error: it was understood, and not done.

    Attributes:
        error_class: QMP's class of the error.
        description: QEMU's own words.
    """

    def __init__(self, error_class: str, description: str) -> None:
        super().__init__(description)
        self.error_class = error_class
        self.description = description


class HostRefused(Exception):
    """The host did not do it, and nothing of it is left.

    Attributes:
        code: Stable identifier.
    """

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description


class ConnectionLost(Exception):
    """The connection ended before the answer came; whether the command took effect is unknown."""


class NoReply(Exception):
    """No answer within the deadline, or one that is no QMP; the outcome is unknown (fact 38)."""


class Backend(Protocol):
    """A QMP peer: the whole contract of a backend (`planner.library.conformance` checks it).

    What `images`, `host` and `peer_pid` can say differs: a backend for which the VM's files are another
    machine's says None, and then external parts are refused and a VM that dies stays unknown.
    """

    @property
    def images(self) -> Images | None:
        """The VM's images, where they are files of this machine; else None."""
        ...

    @property
    def host(self) -> Host | None:
        """The machine that QEMU runs on, where it is this one; else None."""
        ...

    @property
    def peer_pid(self) -> int | None:
        """Who listens at the other end, by the kernel's word and in our PID namespace.

        None: over this connection, or from this namespace, nobody can tell.  It may be a relay.
        """
        ...

    async def connect(self, timeout_s: float) -> None:
        """Connect, or connect anew after a loss.

        Raises:
            CannotConnect: Nobody answers there, or not in QMP.
        """
        ...

    async def execute(
        self, command: str, arguments: Mapping[str, object], timeout_s: float
    ) -> object:
        """Send one command and wait for its reply.

        Several may be under way: they are sent in the order in which their calls began, and QEMU
        takes them in that order.

        Raises:
            CommandRefused: QEMU answered with an error.
            ConnectionLost: The connection ended first.
            NoReply: The deadline passed first.
        """
        ...

    async def execute_with_descriptor(
        self, command: str, arguments: Mapping[str, object], descriptor: int, timeout_s: float
    ) -> object:
        """Send one command and a file descriptor with it (SCM_RIGHTS); else like `execute`.

        Raises:
            CommandRefused: Over this connection no descriptor can be passed; nothing was sent.
        """
        ...

    async def wait_for_event(self, timeout_s: float) -> None:
        """Wait until an event has arrived that was not taken yet.

        Raises:
            ConnectionLost: The connection ended first.
            NoReply: The deadline passed first.
        """
        ...

    def pending_events(self) -> tuple[Event, ...]:
        """Take the events that have arrived, in their order, without waiting."""
        ...

    async def close(self) -> None:
        """End the connection; the VM goes on."""
        ...


class Agent(Protocol):
    """A guest agent: the guest's own hand on its file systems, over a channel of its own.

    An agent answers nothing while its guest is paused, and one that is not running answers nothing at
    all: each call ends within its time.  A call that ended without an answer may still be carried out
    later; calls are carried out in the order in which they were made.
    """

    async def freeze(self, timeout_s: float) -> int:
        """Write out the guest's file systems and freeze them; how many are frozen now.

        Raises:
            CommandRefused: The agent could not, and says that it thawed what it had frozen.
            ConnectionLost: Nobody listens, or the channel broke first; they may be frozen.
            NoReply: No answer in time, or one that makes no sense; they may be frozen, or be later.
        """
        ...

    async def thaw(self, timeout_s: float) -> int:
        """Thaw all file systems, whoever froze them; how many were thawed by this call.

        Raises:
            CommandRefused: The agent could not; they may be frozen.
            ConnectionLost: Nobody listens, or the channel broke first; they may be frozen.
            NoReply: No answer in time, or one that makes no sense; they may be frozen.
        """
        ...

    async def status(self, timeout_s: float) -> str:
        """Whether file systems are frozen: ``frozen`` or ``thawed``.

        Raises:
            CommandRefused: The agent cannot say.
            ConnectionLost: Nobody listens, or the channel broke first.
            NoReply: No answer in time, or one that makes no sense.
        """
        ...

    async def close(self) -> None:
        """End the connection; what is frozen stays frozen."""
        ...


class Clock(Protocol):
    """The wall clock of the host that QEMU runs on, where it can be read."""

    def now_us(self) -> int:
        """Microseconds since the epoch, by the clock that QEMU dates its snapshots with."""
        ...


class Images(Protocol):
    """Images of a VM that is gone, looked at and repaired without it."""

    async def snapshots(self, filename: str) -> tuple[SnapshotInfo, ...]:
        """The internal snapshots of an image.

        Raises:
            NoReply: It cannot be looked at; somebody has it open, or it is not there.
        """
        ...

    async def delete(self, filename: str, name: str, snapshot_id: str) -> None:
        """Delete the one snapshot of that id and name; one that is not there is no error.

        Raises:
            NoReply: It cannot be deleted.
        """
        ...


class Host(Protocol):
    """The machine that QEMU runs on: makes, names and removes files beside the VM's images.

    Rules: never over an existing file; files that hold memory are 0600 from their first byte; what is
    removed is looked at first, and is this run's.
    """

    async def do(
        self, instruction: str, arguments: Mapping[str, object], timeout_s: float
    ) -> Mapping[str, object]:
        """Do one thing; the instructions are those of `backends.host`.

        Raises:
            HostRefused: It was not done, and nothing of it is left.
            NoReply: It did not end in time; a part of it may be done.
        """
        ...

    def descriptor(self, temporary: str) -> int:
        """The descriptor of a file that an instruction made or opened, and keeps open to be passed.

        By its temporary name: of a stream open for writing only, since QEMU takes no other from a set
        for that (fact 75); of an image of machine state for both.  By its own name, where it is read:
        for reading only.

        Raises:
            HostRefused: There is none.
        """
        ...


class GateShut(Exception):
    """The group is given up: its members undo what they have done.

    Attributes:
        code: Stable identifier of why.
    """

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code


class Gates(Protocol):
    """The other members of the group that a run is of."""

    async def wait_at(self, gate: Gate) -> None:
        """Say that this member is at a gate, and wait until it opens.

        Raises:
            GateShut: It will not.  Of a decision that was made already nothing is taken back.
        """
        ...


class JournalFailed(Exception):
    """A record could not be put on the disk; nothing of it is in the journal."""


class JournalStore(Protocol):
    """Where a journal's text is kept."""

    def append(self, line: str, *, lasting: bool) -> None:
        """Append a line.

        Args:
            line: With its end.
            lasting: Whether it, and all before it, must be on the disk on return.

        Raises:
            JournalFailed: It is not there; nor is a part of it.
        """
        ...


class Reporter(Protocol):
    """Somebody who is told how a run goes on."""

    def step(self, number: int, count: int, what: str) -> None:
        """A step is about to be sent."""
        ...

    def note(self, text: str) -> None:
        """Something else that a user should see."""
        ...

    def amount(self, amount: Amount) -> None:
        """Another phase begins, or the step in hand is so far."""
        ...
