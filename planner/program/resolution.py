"""A resolved request: every choice made, each with its reason; what the graph is built from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from attrs import field, frozen

from planner.model.node_names import OVERLAY_NODE_PREFIX
from planner.model.operations import THE_VM, Kind, Operation
from planner.model.request import FreezeFilesystems, RunStateAfter
from planner.program.state_files import (
    Settings,
    Stream,
    Transport,
    VmstateNode,
    descriptor_set,
    temporary_path,
)

__all__ = [
    "IN_RESOLUTIONS",
    "Choice",
    "DiskCopy",
    "InternalPart",
    "Overlay",
    "Replaced",
    "Resolution",
    "Settings",
    "Stream",
    "Transport",
    "VmstateNode",
    "descriptor_set",
    "operations_of",
    "overlay_node_name",
    "temporary_path",
]


@frozen
class Choice:
    """One thing that was decided, and why.

    Attributes:
        subject: A disk or a key of the request.
        value: What was chosen.
        reason: Why, in one clause.
        default: Whether the request left it open.
    """

    subject: str
    value: str
    reason: str
    default: bool = False


@frozen
class InternalPart:
    """A disk whose part is an internal snapshot.

    Attributes:
        disk: Canonical name.
        node: Image node, or a reference where QEMU made its name up.
        root: What ``blockdev-snapshot-internal-sync`` takes.
    """

    disk: str
    node: str
    root: str


@frozen
class Overlay:
    """A disk whose part is its present image, frozen under a new overlay.

    Attributes:
        disk: Canonical name.
        node: Image node, or a reference where QEMU made its name up; the overlay goes on it.
        root: The root node's name, or the ``-drive`` id.
        path: Where the overlay is made.
        overlay: Node name that the overlay gets.
        base_file: The image that is frozen.
        base_format: Its format.
        size_bytes: Virtual size of both.
    """

    disk: str
    node: str
    root: str
    path: str
    overlay: str
    base_file: str
    base_format: str
    size_bytes: int


@frozen
class DiskCopy:
    """A disk whose part is a full copy of it.

    Attributes:
        disk: Canonical name.
        root: The root node's name, or the ``-drive`` id: what is copied.
        path: Where the copy is in the end.
        target: Node name that the copy's file gets meanwhile.
        base_file: The disk's image, whose owner owns the copy.
        size_bytes: Virtual size of both.
        job: Id of the job that copies.
        spares_guest: Whether a copy that cannot be written fails alone (`on-cbw-error`).
        format: What kind of image the copy is: ``qcow2`` or ``raw``.
    """

    disk: str
    root: str
    path: str
    target: str
    base_file: str
    size_bytes: int
    job: str
    spares_guest: bool = False
    format: str = "qcow2"

    @property
    def temporary(self) -> str:
        """Where the file is until it is complete."""
        return temporary_path(self.path)


def overlay_node_name(tag: str, path: str) -> str:
    """A node name that QEMU takes (31 bytes at most), and the same for the same request."""
    digest = hashlib.sha256(f"{tag}\0{path}".encode()).hexdigest()
    return f"{OVERLAY_NODE_PREFIX}{digest[:12]}"


@frozen
class Replaced:
    """A snapshot that the request gives up for the new one of the same tag."""

    disk: str
    root: str
    id: str


IN_RESOLUTIONS: tuple[type, ...] = (
    *(Choice, DiskCopy, InternalPart, Overlay, Replaced, Settings, Stream, VmstateNode),
)
"""The classes of which a resolution is made."""


@frozen
class Resolution:
    """A request with nothing left open, on one VM.

    Attributes:
        tag: The snapshot's name.
        vmstate: Canonical name of the disk that holds the machine state; empty where none does.
        stream: External machine state, where asked for.
        internal: Disks with internal parts, by name.
        overlays: Disks with external parts, by name.
        excluded: Canonical names of the disks that are no part, by name.
        replaced: Snapshots to delete first, by disk and id.
        run_state_before: ``running`` or ``paused``.
        run_state_after: ``running`` or ``paused``.
        choices: What was decided and why, for the reader.
        warnings: What the reader should know although it stops nothing.
        freeze: How the guest's file systems are frozen around the capture; None: they are not.
        outside: What is outside of QEMU's block layer and left out by name: name and type.
        settings: What the VM's migration settings are to be while machine state is written into an
            image; a stream has its own.
        vmstate_node: Machine state in an image of its own, where asked for.
        copies: Disks whose parts are copies, by name.
        stands: Whether the guest stands though its disks alone are captured.
    """

    tag: str
    vmstate: str
    stream: Stream | None
    internal: tuple[InternalPart, ...]
    overlays: tuple[Overlay, ...]
    excluded: tuple[str, ...]
    replaced: tuple[Replaced, ...]
    run_state_before: RunStateAfter
    run_state_after: RunStateAfter
    choices: tuple[Choice, ...] = ()
    warnings: tuple[str, ...] = ()
    freeze: FreezeFilesystems | None = None
    outside: tuple[tuple[str, str], ...] = ()
    settings: Settings = field(factory=Settings)
    vmstate_node: VmstateNode | None = None
    copies: tuple[DiskCopy, ...] = ()
    stands: bool = False

    @property
    def vmstate_at(self) -> str:
        """What QEMU writes machine state into in its snapshot format: a disk, or the node of its own."""
        return self.vmstate if self.vmstate_node is None else self.vmstate_node.node

    @property
    def state_file(self) -> Stream | VmstateNode | None:
        """The file that is made for the machine state; None: none is."""
        return self.stream if self.vmstate_node is None else self.vmstate_node

    @property
    def migration_settings(self) -> Settings:
        """What the VM's migration settings are to be meanwhile, whichever way its state is saved."""
        return self.settings if self.stream is None else self.stream.settings

    @property
    def has_machine_state(self) -> bool:
        """Whether memory and devices are part of the snapshot."""
        return bool(self.vmstate_at) or self.stream is not None

    @property
    def pauses(self) -> bool:
        """Whether the guest, running now, has to be paused on the way."""
        running = self.run_state_before is RunStateAfter.RUNNING
        wanted = self.has_machine_state or self.stands
        return running and (wanted or not self._ends_running)

    @property
    def resumes(self) -> bool:
        """Whether the guest has to be resumed on the way."""
        was_paused = self.run_state_before is RunStateAfter.PAUSED
        return self._ends_running and (self.pauses or was_paused)

    @property
    def _ends_running(self) -> bool:
        return self.run_state_after is RunStateAfter.RUNNING


def operations_of(resolution: Resolution) -> Iterator[Operation]:
    """The operations of a resolved request, each once."""
    for old in resolution.replaced:
        yield Operation(Kind.DELETE_DISK_SNAPSHOT, disk=old.disk, detail=old.id)
    for overlay in resolution.overlays:
        yield Operation(Kind.ADD_OVERLAY, disk=overlay.disk)
        yield Operation(Kind.SWITCH_TO_OVERLAY, disk=overlay.disk)
    kinds = (Kind.ADD_TARGET, Kind.BEGIN_COPY, Kind.END_COPY)
    yield from (Operation(kind, disk=copy.disk) for copy in resolution.copies for kind in kinds)
    for part in resolution.internal:
        yield Operation(Kind.SNAPSHOT_DISK, THE_VM, part.disk)
    if resolution.vmstate_node is not None:
        yield Operation(Kind.ADD_VMSTATE_NODE, disk=resolution.vmstate_at)
        yield Operation(Kind.SNAPSHOT_DISK, disk=resolution.vmstate_at)
    if resolution.vmstate_at:
        yield Operation(Kind.WRITE_VMSTATE, disk=resolution.vmstate_at)
        yield Operation(Kind.DISCARD_VMSTATE, disk=resolution.vmstate_at)
    if resolution.stream is not None:
        capture = resolution.stream.capture
        yield Operation(Kind.BEGIN_STREAM_VMSTATE, detail=capture)
        yield Operation(Kind.END_STREAM_VMSTATE, detail=capture)
    if resolution.freeze is not None:
        yield Operation(Kind.FREEZE_FILESYSTEMS)
        yield Operation(Kind.THAW_FILESYSTEMS)
    if resolution.pauses:
        yield Operation(Kind.PAUSE_GUEST)
    if resolution.resumes:
        yield Operation(Kind.RESUME_GUEST)
