"""What ties the parts of one snapshot together: QEMU itself keeps no such record.

A manifest is written once, whole, after the VM has shown every part.  It names each part by what
tells it from all others (file, snapshot id, tag, vm-clock), so that a missing, an extra or a swapped
part is noticed before anything is loaded (facts 9, 19 and 20).
"""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from planner.model.facts import QemuVersion
from planner.model.file_record import UNSEEN, FileRecord
from planner.model.hardware import Hardware
from planner.model.peripherals import Device

__all__ = [
    "MANIFEST_FORMAT_VERSION",
    "BackingImage",
    "FileRecord",
    "LeftOut",
    "Manifest",
    "ManifestPart",
    "PartKind",
]

MANIFEST_FORMAT_VERSION = 1


class PartKind(StrEnum):
    """How a part is kept."""

    INTERNAL = "internal"
    """A snapshot inside a qcow2 image; it may hold the machine state as well."""
    OVERLAY = "overlay"
    """A disk's image as it was, frozen under an overlay that the guest writes to since."""
    STREAM = "stream"
    """The machine state in a file of its own, as `migrate` writes it."""


@frozen(order=True)
class BackingImage:
    """An image under a part's own: the part's content is there where its own image holds nothing.

    Attributes:
        file: As QEMU names it.
        format: QEMU's block driver.
        record: What the file was, where it is one of this machine.
    """

    file: str
    format: str
    record: FileRecord = UNSEEN


@frozen(order=True)
class ManifestPart:
    """One part.

    Attributes:
        kind: How it is kept.
        disk: The disk's canonical name; empty for a stream.
        qdev: What QEMU calls the device; empty when nothing was attached.
        node: Image node that holds the part, or a reference (``@disk``); empty for a stream.
        root: What ``blockdev-snapshot-internal-sync`` takes; empty for a stream.
        file: The image, or for an overlay the frozen base, or the stream's file.
        format: The image's format; for a stream ``stream`` or ``mapped-ram``.
        snapshot_id: QEMU's id of an internal part; else empty.
        vm_clock_ns: The guest's clock in an internal part; else 0.
        vm_state_size_bytes: Machine state in an internal part, or a stream's length; else 0.
        overlay: Node name of the overlay above a frozen base; else empty.
        overlay_file: Its file; else empty.
        virtual_size_bytes: Size of the disk that the guest sees; 0 for a stream.
        record: What the stream's file or the frozen image was; unknown for an internal part, whose
            image the guest goes on writing to.
        backing: The images under ``file``, from the top down; None: nobody wrote them down.
    """

    kind: PartKind
    disk: str = ""
    qdev: str = ""
    node: str = ""
    root: str = ""
    file: str = ""
    format: str = ""
    snapshot_id: str = ""
    vm_clock_ns: int = 0
    vm_state_size_bytes: int = 0
    overlay: str = ""
    overlay_file: str = ""
    virtual_size_bytes: int = 0
    record: FileRecord = UNSEEN
    backing: tuple[BackingImage, ...] | None = None

    @property
    def images(self) -> tuple[tuple[str, str], ...]:
        """The part's images, each with its format; none for a stream."""
        if self.kind is PartKind.STREAM:
            return ()
        overlay = ((self.overlay_file, "qcow2"),) if self.overlay_file else ()
        return ((self.file, self.format), *overlay)

    @property
    def chain(self) -> tuple[tuple[str, str], ...] | None:
        """What lies under ``file``, each image with its format; None: nobody wrote it down."""
        if self.backing is None:
            return None
        return tuple((image.file, image.format) for image in self.backing)


@frozen(order=True)
class LeftOut:
    """A disk that is no part, or a drive without a medium: what it was just before the snapshot.

    Attributes:
        disk: The disk's canonical name; of an empty drive its id.
        drive_id: ``-drive`` id, or empty.
        qdev: What QEMU calls the device.
        file: The image; empty: there is no medium in the drive.
        removable: Whether it is a drive whose medium can be changed.
        writable: Whether the guest can write to it.
        record: What the file was; unknown where it is no regular file of this machine.
    """

    disk: str
    drive_id: str = ""
    qdev: str = ""
    file: str = ""
    removable: bool = False
    writable: bool = False
    record: FileRecord = UNSEEN


@frozen
class Manifest:
    """A whole snapshot.

    Attributes:
        tag: The snapshot's name; every internal part carries it.
        design: The design that made it.
        program_digest: SHA-256 of the program's canonical JSON, in hexadecimal.
        qemu: The QEMU that made it.
        machine: Machine type.
        target: Guest architecture.
        vm: The VM's UUID, else its name, else empty.
        address: Where its QMP socket was.
        devices: The guest's devices that disks hang on: (disk, qdev), by disk.
        started_ns: Host's wall clock when the run began, since the epoch.
        ended_ns: The same when the VM had shown the last part.
        parts: In order of kind and disk.
        excluded: Writable disks that are no part.
        memory_bytes: The guest's memory; 0: not known.
        outside: What is outside of QEMU's block layer and was left out by name: (name, type).
        hardware: The machine that its machine state fits; None: nobody wrote it down.
        added: The devices that the user had added; with ``hardware`` only.
        left_out: What the disks and drives that are no part were; empty: none, or nobody looked.
    """

    tag: str
    design: str
    program_digest: str
    qemu: QemuVersion
    machine: str
    parts: tuple[ManifestPart, ...]
    target: str = ""
    vm: str = ""
    address: str = ""
    devices: tuple[tuple[str, str], ...] = ()
    started_ns: int = 0
    ended_ns: int = 0
    excluded: tuple[str, ...] = ()
    memory_bytes: int = 0
    outside: tuple[tuple[str, str], ...] = ()
    hardware: Hardware | None = None
    added: tuple[Device, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def of_kind(self, kind: PartKind) -> tuple[ManifestPart, ...]:
        """The parts of a kind."""
        return tuple(part for part in self.parts if part.kind is kind)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that a part names, an overlay's two, in order of the parts."""
        named = [name for part in self.parts for name in (part.file, part.overlay_file)]
        return tuple(file for file in named if file)

    @property
    def vmstate(self) -> ManifestPart | None:
        """The part that holds the machine state; None: disks only."""
        for part in self.parts:
            if part.kind is PartKind.STREAM or part.vm_state_size_bytes:
                return part
        return None
