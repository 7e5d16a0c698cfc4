"""What a VM is: everything that planning needs to know, and nothing that lives only while it runs.

Facts are asked from a VM (`planner.run.survey`) or read from a file, so that planning needs no
VM.  A file of facts is kept, so no name in it may be one that QEMU made up for this run: automatic
node names (``#blockNNN``) change at every start.  A node without a name of the user's own is called
by its disk (``@disk0``); `Facts.live_nodes` says what that is right now, and is never written.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from attrs import field, frozen

from planner.model.file_record import FileRecord
from planner.model.hardware import Hardware
from planner.model.image_place import UNPLACED, ImagePlace
from planner.model.migration import Setting
from planner.model.node_names import OVERLAY_NODE_PREFIX, Chain
from planner.model.peripherals import Device, HostObject, Tpm

__all__ = [
    "FACTS_FORMAT_VERSION",
    "Bitmap",
    "Disk",
    "Drive",
    "Facts",
    "JobInfo",
    "ChainNode",
    "QemuVersion",
    "SnapshotInfo",
    "WriteTracking",
    "node_reference",
]

FACTS_FORMAT_VERSION = 1

DEFAULT_REFCOUNT_BITS = 16
"""What qemu-img gives a qcow2 image unless it is told otherwise."""

REFCOUNT_BITS_LIMIT = 64
"""The widest reference counts that a qcow2 image can have."""

_REFERENCE_PREFIX = "@"


def node_reference(disk: str) -> str:
    """The name, in kept files, of a disk's automatically named image node; no node can be so called."""
    return _REFERENCE_PREFIX + disk


class WriteTracking(StrEnum):
    """Whether QEMU's process may have the guest's memory write-protected (fact 63)."""

    UNKNOWN = "unknown"
    ALLOWED = "allowed"
    DENIED = "denied"
    """The kernel can do it, and does not let this process."""
    LACKING = "lacking"
    """The kernel cannot do it."""


@frozen(order=True)
class QemuVersion:
    """QEMU's version as `query-version` says it."""

    major: int
    minor: int
    micro: int
    package: str = ""

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.micro}"


@frozen(order=True)
class SnapshotInfo:
    """One internal snapshot of one image, as `query-named-block-nodes` shows it.

    Attributes:
        id: QEMU's identifier within the image.
        name: The tag.
        vm_clock_ns: The guest's virtual clock at the instant of the snapshot.
        vm_state_size_bytes: Size of the machine state in it; 0 for a part without machine state.
        date_ns: Host wall clock when it was taken, since the epoch.
    """

    id: str
    name: str
    vm_clock_ns: int = 0
    vm_state_size_bytes: int = 0
    date_ns: int = 0


@frozen(order=True)
class Bitmap:
    """A dirty bitmap on a node; a persistent one makes `snapshot-load` fail half way (fact 20)."""

    name: str
    persistent: bool = False


@frozen
class ChainNode:
    """A node between a device and its image (a filter), or below the image (a backing file).

    Attributes:
        node: Its name where the user gave one, else empty.
        driver: QEMU's block driver.
        filename: The file behind it, where it has one.
        key_secret: The id of the secret that opens it, where QEMU shows one.
    """

    node: str
    driver: str
    filename: str = ""
    key_secret: str = ""


@frozen
class Disk:
    """One disk: what the guest's device is attached to, down to the image that can be snapshotted.

    Attributes:
        name: The canonical name: the image's or a filter's node name, else the ``-drive`` id, else
            the qdev id.
        node: The image's node name, or a reference (``@name``) where QEMU made the name up.
        root: What ``blockdev-snapshot-internal-sync`` takes: the root node's name or the
            ``-drive`` id (fact 11).
        driver: Block driver of the image node.
        read_only: Whether QEMU has it open for reading only.
        drive_id: ``-drive`` id, or empty.
        qdev: What QEMU calls the device: a qdev id or a QOM path; empty when nothing is attached.
        active: Whether the node is active; nodes go inactive when a migration completes (fact 29).
        filters: Nodes between the device and the image, from the device down.
        backing: The backing chain below the image, from the top down.
        below: Names of nodes below the image that are no backing files (protocol nodes).
        filename: The image's file.
        lost_name: The relative name that it was opened by, where QEMU is in another folder since and
            cannot open it by that again (fact 71); empty: it can, or nobody could look.
        virtual_size_bytes: Size of the disk that the guest sees.
        data_file: Whether the qcow2 image keeps its data in a file of its own (fact 10).
        encrypted: Whether QEMU says that the image is encrypted.
        corrupt: Whether the image says of itself that it is damaged.
        refcount_bits: Width of a qcow2 image's reference counts; it limits its snapshots.
        snapshots: The internal snapshots, in QEMU's order.
        bitmaps: The dirty bitmaps.
        users: Block jobs that use the disk or a node below it.
        drives_below: Ids of other ``-drive`` options that this disk's lies over: no disks of their own.
        place: Which file the image is on this machine, where somebody looked.
        header_names: What an image of the chain names as the one under it, where QEMU was told another.
        key_secret: The id of the secret that opens the image, where QEMU shows one.
        io_error: How the guest's last request to it failed, where QEMU stopped the guest for that:
            ``failed`` or ``nospace``; empty: none has.
        chain: Who keeps account of the images that lie over each other.
        target: What libvirt calls the disk, where the VM was reached through it, or empty.
    """

    name: str
    node: str
    root: str
    driver: str
    read_only: bool = False
    drive_id: str = ""
    qdev: str = ""
    active: bool = True
    filters: tuple[ChainNode, ...] = ()
    backing: tuple[ChainNode, ...] = ()
    below: tuple[str, ...] = ()
    filename: str = ""
    virtual_size_bytes: int = 0
    data_file: bool = False
    encrypted: bool = False
    corrupt: bool = False
    refcount_bits: int = DEFAULT_REFCOUNT_BITS
    snapshots: tuple[SnapshotInfo, ...] = ()
    bitmaps: tuple[Bitmap, ...] = ()
    users: tuple[str, ...] = ()
    drives_below: tuple[str, ...] = ()
    place: ImagePlace = UNPLACED
    header_names: str = ""
    lost_name: str = ""
    key_secret: str = ""
    io_error: str = ""
    chain: Chain = Chain.QEMU
    target: str = ""

    @property
    def attached(self) -> bool:
        """Whether a guest device uses the disk."""
        return bool(self.qdev or self.drive_id)

    @property
    def qdev_id(self) -> str:
        """The id that the user gave the device, or empty."""
        prefix = "/machine/peripheral/"
        if self.qdev.startswith(prefix):
            return self.qdev[len(prefix) :].split("/", 1)[0]
        return "" if self.qdev.startswith("/") else self.qdev

    @property
    def names(self) -> tuple[str, ...]:
        """Every name by which a request may mean this disk."""
        filters = [layer.node for layer in self.filters]
        frozen = self._frozen_names()
        candidates = (
            *(self.name, *filters, self.node, *frozen),
            *(self.drive_id, self.qdev_id, self.qdev, self.target, *self.drives_below),
        )
        usable = [name for name in candidates if name and not name.startswith(_REFERENCE_PREFIX)]
        return tuple(dict.fromkeys(usable))

    def _frozen_names(self) -> list[str]:
        """Names that the disk had before snapplan put overlays on it."""
        names = []
        above = self.node
        for layer in self.backing:
            if not above.startswith(OVERLAY_NODE_PREFIX):
                break
            names.append(layer.node)
            above = layer.node
        return names

    def holding(self, tag: str) -> tuple[SnapshotInfo, ...]:
        """The snapshots of this tag."""
        return tuple([snapshot for snapshot in self.snapshots if snapshot.name == tag])


@frozen(order=True)
class Drive:
    """A drive whose medium can be changed: a CD or floppy drive.

    Attributes:
        id: ``-drive`` id, or empty.
        qdev: What QEMU calls the device.
        file: The image in it; empty: none.
    """

    id: str
    qdev: str
    file: str = ""

    @property
    def key(self) -> str:
        """By what it is known among those of a VM."""
        return self.id or self.qdev

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.id or Disk("", "", "", "", qdev=self.qdev).qdev_id or self.qdev


@frozen(order=True)
class JobInfo:
    """A background job of the VM, as `query-jobs` shows it."""

    id: str
    type: str
    status: str


@frozen
class Facts:
    """What a VM is, at one moment.

    Attributes:
        qemu: Version of QEMU.
        machine: Machine type; empty: it is a storage daemon (`is_daemon`).
        target: Guest architecture.
        run_state: QEMU's run state; a storage daemon has none, and what it serves is always ``running``.
        disks: In canonical order (by name).
        jobs: Jobs that exist, also concluded ones that nobody has dismissed.
        migration: Status of a migration, or empty when there was none.
        blocked_reasons: What stops both `migrate` and `snapshot-save` (fact 33).
        capabilities: What `query-migrate-capabilities` says; empty: not asked.
        parameters: Of `query-migrate-parameters`, those that a run may set, and those that spoil a
            snapshot, where somebody has set them.
        schema: Entries of `query-qmp-schema` that describe the commands snapplan may send.
        vm_name: `query-name`'s answer, or empty.
        vm_uuid: `query-uuid`'s answer, or empty.
        memory_bytes: The guest's memory, plugged memory included; 0: not known.
        devices: The devices that the user added, by id; empty: none, or not asked.
        tpms: The TPMs.
        objects: What ``-object`` made of memory, and of what works on the guest's memory.
        write_tracking: Whether QEMU's process may have the guest's memory write-protected.
        hardware: The machine that the VM's state fits; None: not asked.
        drives: Drives whose medium can be changed, with a medium or without.
        files: By path, what the images of disks that a run leaves out were just before the run.
        migration_error: What QEMU remembers of a migration that failed: from 10.0 on no snapshot can be
            loaded until that is cleared (fact 65).
        taken_tags: Tags that libvirt keeps snapshots under.
        live_nodes: Present names of automatically named nodes, by reference; never written.
    """

    qemu: QemuVersion
    machine: str
    run_state: str
    disks: tuple[Disk, ...]
    target: str = ""
    jobs: tuple[JobInfo, ...] = ()
    migration: str = ""
    blocked_reasons: tuple[str, ...] = ()
    capabilities: Mapping[str, bool] = field(factory=dict, hash=False)
    parameters: Mapping[str, Setting] = field(factory=dict, hash=False)
    schema: tuple[Mapping[str, object], ...] = field(default=(), repr=False, hash=False)
    vm_name: str = ""
    vm_uuid: str = ""
    memory_bytes: int = 0
    devices: tuple[Device, ...] = ()
    tpms: tuple[Tpm, ...] = ()
    objects: tuple[HostObject, ...] = ()
    write_tracking: WriteTracking = WriteTracking.UNKNOWN
    hardware: Hardware | None = None
    drives: tuple[Drive, ...] = ()
    files: tuple[tuple[str, FileRecord], ...] = ()
    migration_error: str = ""
    taken_tags: tuple[str, ...] = ()
    live_nodes: Mapping[str, str] = field(factory=dict, eq=False, repr=False)

    @property
    def is_daemon(self) -> bool:
        """Whether it is a storage daemon: it has no machine, and its disks are what it exports."""
        return not self.machine

    def by_name(self) -> dict[str, tuple[Disk, ...]]:
        """Every name that means a disk, with the disks that it means (more than one: ambiguous)."""
        table: dict[str, tuple[Disk, ...]] = {}
        for disk in self.disks:
            alone = (disk,)
            for name in disk.names:
                table[name] = table[name] + alone if name in table else alone
        return table
