"""The operations that a system snapshot is made of.

An operation is one thing that happens to one VM, smaller than any QMP command of today: a single
``snapshot-save`` does five kinds of them.  What must come before what is said by the rules
(`planner.compile.rules`); which commands do which operations is said by a design.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

__all__ = ["CAPTURES", "THE_VM", "Kind", "Operation"]

THE_VM = "vm"
"""Name of the VM where a plan is about one only; every operation names its VM all the same."""


class Kind(StrEnum):
    """The vocabulary, in the order in which a reader expects it."""

    DELETE_DISK_SNAPSHOT = "DeleteDiskSnapshot"
    ADD_OVERLAY = "AddOverlay"
    ADD_VMSTATE_NODE = "AddVmstateNode"
    ADD_TARGET = "AddTarget"
    FREEZE_FILESYSTEMS = "FreezeFilesystems"
    BEGIN_STREAM_VMSTATE = "BeginStreamVmstate"
    PAUSE_GUEST = "PauseGuest"
    WRITE_VMSTATE = "WriteVmstate"
    SNAPSHOT_DISK = "SnapshotDisk"
    DISCARD_VMSTATE = "DiscardVmstate"
    SWITCH_TO_OVERLAY = "SwitchToOverlay"
    BEGIN_COPY = "BeginCopy"
    END_STREAM_VMSTATE = "EndStreamVmstate"
    RESUME_GUEST = "ResumeGuest"
    THAW_FILESYSTEMS = "ThawFilesystems"
    END_COPY = "EndCopy"
    REVERT_DISK = "RevertDisk"
    READ_VMSTATE = "ReadVmstate"
    RESET_GUEST = "ResetGuest"

    # A member is its text, so it can hash as that: Enum's own hash is ten times slower.
    __hash__ = str.__hash__


CAPTURES = frozenset(
    {Kind.WRITE_VMSTATE, Kind.SNAPSHOT_DISK, Kind.SWITCH_TO_OVERLAY, Kind.BEGIN_COPY}
)
"""Operations that fix a part of the snapshot at one instant (a stream's end or begin is the
fourth: which of the two depends on how it is captured)."""


class Operation(NamedTuple):
    """One thing that happens to one VM.

    A tuple, so that hashing and comparing need no line of Python: a graph of a hundred thousand
    disks asks for it some millions of times.

    Attributes:
        kind: What happens.
        vm: The VM.
        disk: The disk that it happens to (canonical name), or the node that machine state has of its
            own; empty for the machine as a whole.
        detail: What else tells it apart: a snapshot id, a file, a capture.
    """

    kind: Kind
    vm: str = THE_VM
    disk: str = ""
    detail: str = ""

    @property
    def sort_key(self) -> tuple[str, str, str, str]:
        """Canonical place among unordered operations.

        Alphabetical, so that an order that the rules do not ask for never looks as if it were
        asked for.
        """
        return (self.vm, self.disk, self.kind, self.detail)

    def __str__(self) -> str:
        what = ", ".join(part for part in (self.disk, self.detail) if part)
        where = "" if self.vm == THE_VM else f"{self.vm}: "
        return f"{where}{self.kind.value}({what})"
