"""What a user asks for: one system snapshot, in frozen classes.

A request names disks as the user knows them (node name, ``-drive`` id or qdev id); what these mean
on a VM is decided by `planner.compile.resolve`, with the facts.  Reading a file into these classes
is `planner.model.request_text`.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

__all__ = [
    "FREEZE_AT_MOST_S",
    "STREAM_GIVE_UP_S",
    "Capture",
    "Copy",
    "CopyFormat",
    "Exclude",
    "ExistingTag",
    "External",
    "ExternalMachineState",
    "FreezeFilesystems",
    "ImageMachineState",
    "Internal",
    "InternalMachineState",
    "LEFT_OUT",
    "MachineState",
    "NoMachineState",
    "Others",
    "Pause",
    "Request",
    "RunStateAfter",
    "ServedBy",
    "Unreadable",
    "Wish",
]


STREAM_GIVE_UP_S = 1800
"""Half an hour: longer than any stream of a guest that converges took here, and an end all the same."""


FREEZE_AT_MOST_S = 10
"""So long a Windows guest's own service holds file systems frozen; a Linux guest holds them for ever."""


class Capture(StrEnum):
    """How external machine state is captured: which instant of its stream is the snapshot's."""

    STOPPED = "stopped"
    LIVE = "live"
    BACKGROUND = "background"


class CopyFormat(StrEnum):
    """What kind of image a copy of a disk is."""

    QCOW2 = "qcow2"
    RAW = "raw"


class Others(StrEnum):
    """What happens to a writable disk that the request does not name."""

    REFUSE = "refuse"
    EXCLUDE = "exclude"
    INTERNAL = "internal"


class ExistingTag(StrEnum):
    """What happens when a requested disk already holds a snapshot of this tag."""

    REFUSE = "refuse"
    REPLACE = "replace"


class Pause(StrEnum):
    """Whether the guest stands while its disks alone are captured; with machine state it always does."""

    AS_NEEDED = "as-needed"
    ALWAYS = "always"


class RunStateAfter(StrEnum):
    """The run state that the VM is left in."""

    AS_BEFORE = "as-before"
    RUNNING = "running"
    PAUSED = "paused"


@frozen
class Internal:
    """The disk's part is a snapshot inside its own qcow2 image."""


@frozen
class External:
    """The disk's part is its present image, frozen under a new overlay.

    Attributes:
        path: Where the overlay is to be made.
    """

    path: str


@frozen
class Copy:
    """The disk's part is a full copy of it in a file of its own, made while the guest runs on.

    Attributes:
        path: Where the copy is to be made.
        format: What kind of image it is to be.
    """

    path: str
    format: CopyFormat = CopyFormat.QCOW2


@frozen
class Exclude:
    """The disk is no part of the snapshot."""


@frozen
class ServedBy:
    """Another member of the group serves the disk, and has it as a part of its own snapshot.

    Attributes:
        member: A storage daemon, as the group calls it.
    """

    member: str


@frozen
class Unreadable:
    """The request says something about the disk that cannot be read; the reader has reported it."""


Wish = Internal | External | Copy | Exclude | ServedBy | Unreadable
LEFT_OUT = (Exclude, ServedBy)
"""What makes a disk no part of the VM's own snapshot."""


@frozen
class NoMachineState:
    """Disks only: the guest sees a power cut at the instant of the snapshot."""


@frozen
class InternalMachineState:
    """Memory and devices go into the qcow2 image of one of the internal disks.

    Attributes:
        disk: The disk that holds the vmstate, by any of its names.
    """

    disk: str


@frozen
class ImageMachineState:
    """Memory and devices go into a qcow2 image of their own, in QEMU's snapshot format.

    Attributes:
        path: Where the image is to be made.
    """

    path: str


@frozen
class ExternalMachineState:
    """Memory and devices go to a file of their own.

    Attributes:
        path: Where the file is to be made.
        capture: Which instant of the stream is the snapshot's.
        max_bandwidth: Most bytes a second that QEMU may write; 0: as fast as it can.
        downtime_limit: Milliseconds that a live capture may stand still to write its rest; 0: as the
            VM is set.
        auto_converge: Whether a guest that writes memory faster than it is saved may be slowed down.
        give_up_after: Seconds after which an unfinished stream is given up, and all of it undone.
    """

    path: str
    capture: Capture
    max_bandwidth: int = 0
    downtime_limit: int = 0
    auto_converge: bool = False
    give_up_after: int = STREAM_GIVE_UP_S


@frozen
class FreezeFilesystems:
    """The guest agent freezes the guest's file systems around the capture of its disks.

    Attributes:
        agent: The unix socket of the agent's channel; empty: it could not be read.
        at_most_s: For how long they may be frozen, in seconds.
    """

    agent: str
    at_most_s: int = FREEZE_AT_MOST_S


MachineState = (
    NoMachineState | InternalMachineState | ImageMachineState | ExternalMachineState | Unreadable
)


@frozen
class Request:
    """One system snapshot, as asked for.

    Attributes:
        tag: The snapshot's name.
        machine_state: Where memory and devices go.
        disks: What each named disk is to be, in the order of the file.
        others: What happens to writable disks that are not named.
        existing_tag: What happens when the tag is taken.
        run_state_after: The run state that the VM is left in.
        freeze: Whether and how the guest's file systems are frozen meanwhile.
        pause: Whether the guest stands while its disks alone are captured.
        description: What its user says of it; it is recorded, and shown by `list`.
        given: The keys that the file set; every other value is a default.
    """

    tag: str
    machine_state: MachineState
    disks: tuple[tuple[str, Wish], ...]
    others: Others = Others.REFUSE
    existing_tag: ExistingTag = ExistingTag.REFUSE
    run_state_after: RunStateAfter = RunStateAfter.AS_BEFORE
    freeze: FreezeFilesystems | None = None
    description: str = ""
    pause: Pause = Pause.AS_NEEDED
    given: frozenset[str] = field(default=frozenset(), eq=False)
