"""What can happen in a run, where a run can be, and what a client knows of what it sent."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import NamedTuple

__all__ = [
    "UNDO_STEPS",
    "Act",
    "Action",
    "Attempt",
    "ClientDeath",
    "ClientPhase",
    "React",
    "StreamPlace",
]

UNDO_STEPS = (
    "remember-what-was-made",
    "delete-parts",
    "by-id",
    "resume-guest",
    "repair-images",
    "cancel-stream",
    "active-before-undo",
    "commit-overlays",
    "remove-files",
    "restore-settings",
    "thaw",
    "cancel-copies",
)
"""The steps of undo; leaving one out is how the tests show that it is needed."""


class ClientPhase(IntEnum):
    """Where a run is."""

    STEPPING = 0
    LOOKING = 1
    UNDOING = 2
    OFFLINE = 3
    ORPHANED = 4
    """The client is dead; QEMU works off what it was sent, and the guest goes on."""
    DONE = 5
    UNDONE = 6
    INCOMPLETE = 7
    ABANDONED = 8
    """The client is dead, and nobody comes after it."""

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self >= ClientPhase.DONE


class Attempt(IntEnum):
    """What the client knows of an instruction."""

    NOT_SENT = 0
    UNKNOWN = 1
    APPLIED = 2
    FAILED = 3


class React(IntEnum):
    """What QEMU does by itself when an instruction has failed."""

    ABORT = 0
    """Take back one operation; its number follows."""
    CLEAN = 1
    """Delete the first snapshot of the tag on a disk; its number follows."""
    RESUME = 2
    """Let the guest run again that the instruction stopped."""


class StreamPlace(IntEnum):
    """Where the stream of external machine state is."""

    NONE = 0
    BEGUN = 1
    """Under way; of a background one, write tracking is not on yet."""
    HELD = 2
    """A live one in pre-switchover: QEMU has stopped the guest and waits (fact 30)."""
    TRACKED = 3
    """A background one: write tracking is on (fact 39)."""
    COMPLETE = 4
    BROKEN = 5

    @property
    def under_way(self) -> bool:
        """Whether QEMU still works on it."""
        return StreamPlace.BEGUN <= self <= StreamPlace.TRACKED


class ClientDeath(StrEnum):
    """Whether the client may die, which counts as a fault, and what comes after it."""

    NEVER = "never"
    FOR_GOOD = "for-good"
    """Nobody comes after it: what it left stays."""
    RECOVERED = "recovered"
    """Somebody finishes or undoes what it left, as `snapplan recover` does."""


class Act(IntEnum):
    """What can happen; the comment says what the two numbers of an `Action` mean."""

    GUEST = 0  # mask of the disks written
    SEND = 1  # instruction
    OPERATE = 2  # instruction, operation
    ANSWER = 3  # instruction
    REACT = 4  # React, operation or disk
    REPORT_FAILURE = 5  # instruction
    LOOK = 6
    DELETE = 7  # disk, whether a stream ends just before
    RESTORE = 8
    END = 9
    REPAIR = 10  # disk
    CANCEL = 11
    ACTIVATE = 12
    COMMIT = 13  # disk, whether a stream ends just before
    REMOVE_FILE = 14  # disk, or the number after the last for the stream's
    PUT_BACK = 15
    TRACK = 16
    GO_ON = 17
    CANCEL_COPY = 18  # disk
    CLOSE_COPY = 19  # disk
    # faults
    REFUSE = 20  # instruction
    FAIL = 21  # instruction, operation
    CUT_BEFORE = 22  # instruction
    CUT_AFTER = 23  # instruction
    DIE = 24
    DELETE_REFUSED = 25  # disk
    DELETE_CUT = 26  # disk, whether it took effect
    RESTORE_REFUSED = 27
    CUT_INSIDE = 28  # instruction
    UNDO_REFUSED = 29  # Act that is refused, disk or file
    # other clients
    FOREIGN_RESUME = 30
    FOREIGN_TAG = 31  # disk
    # a fault again
    COMMIT_CUT = 32  # disk, whether it took effect
    COPY_STRUCK = 33  # disk, whether the guest sees the error: else it stands
    COPY_CUT = 34  # disk, whether it took effect
    CLIENT_DIES = 35
    # no fault
    THAW = 50
    SETTLE = 51  # instruction
    RECOVER = 52

    @property
    def is_fault(self) -> bool:
        """Whether it counts as a fault."""
        return Act.REFUSE <= self < Act.THAW


class Action(NamedTuple):
    """One thing that happens."""

    act: Act
    first: int = 0
    second: int = 0
