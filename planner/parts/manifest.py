"""What ties the parts of one snapshot together: QEMU itself keeps no such record.

A manifest is written once, whole, after the VM has shown every part.  It names each part by what
tells it from all others (file, snapshot id, tag, vm-clock), so that a missing, an extra or a swapped
part is noticed before anything is loaded (facts 9, 19 and 20).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from attrs import frozen

from planner.model.ancestor import Ancestor
from planner.model.facts import QemuVersion
from planner.model.file_record import UNSEEN, FileRecord
from planner.model.group_run import GroupRun
from planner.model.hardware import Hardware
from planner.model.peripherals import Device
from planner.parts.disk_part import DiskPart
from planner.parts.part import ManifestPart
from planner.parts.template import Template

__all__ = ["MANIFEST_FORMAT_VERSION", "LeftOut", "Manifest"]

_P = TypeVar("_P", bound=ManifestPart)

MANIFEST_FORMAT_VERSION = 1


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
        served: Which of that another member of the group has saved: (name, member).
        hardware: The machine that its machine state fits; None: nobody wrote it down.
        added: The devices that the user had added; with ``hardware`` only.
        left_out: What the disks and drives that are no part were; empty: none, or nobody looked.
        needs_vm: Disks whose parts cannot be worked on without their VM, each with why, as a code.
        unproved: Of a snapshot that was adopted: what no check could show, in clauses.
        description: What its user says of it.
        ancestors: The snapshot that the VM was last loaded from or saved as, then that one's ancestors,
            as far as they were there; empty: none, or nobody wrote it down.
        group: The group that it is a member's snapshot of; None: of none.
        template: What it was made ready with for instant restore; None: it was not.
        request_digest: What was asked for (`planner.model.request_digest`); empty: nobody wrote it down,
            or nothing was asked for (it was adopted).
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
    served: tuple[tuple[str, str], ...] = ()
    hardware: Hardware | None = None
    added: tuple[Device, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    needs_vm: tuple[tuple[str, str], ...] = ()
    unproved: tuple[str, ...] = ()
    description: str = ""
    ancestors: tuple[Ancestor, ...] = ()
    group: GroupRun | None = None
    template: Template | None = None
    request_digest: str = ""

    def of(self, kind: type[_P]) -> tuple[_P, ...]:
        """The parts of one kind, for what is about that kind alone."""
        return tuple(part for part in self.parts if isinstance(part, kind))

    @property
    def disk_parts(self) -> tuple[DiskPart, ...]:
        """The parts that are a disk's."""
        return tuple(part for part in self.parts if isinstance(part, DiskPart))

    @property
    def is_elsewhere(self) -> bool:
        """Whether its files may be another machine's: its VM was reached otherwise than by a socket."""
        return bool(self.address) and not self.address.startswith("/")

    @property
    def ancestor(self) -> Ancestor:
        """What it is to a snapshot that is taken after it."""
        return Ancestor(self.tag, self.started_ns)

    @property
    def lineage(self) -> tuple[Ancestor, ...]:
        """What a VM stands on that was loaded from it, or just saved as it."""
        return (self.ancestor, *self.ancestors)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that a part names, an overlay's two, in order of the parts."""
        return tuple(file for part in self.parts for file in part.files)

    @property
    def template_files(self) -> tuple[str, ...]:
        """The files that are its template's own."""
        return () if self.template is None else self.template.own_files

    @property
    def vmstate(self) -> ManifestPart | None:
        """The part that holds the machine state; None: disks only."""
        return next((part for part in self.parts if part.holds_state), None)

    def frozen_elsewhere(self, others: Iterable[Manifest]) -> dict[str, str]:
        """Images that other snapshots have frozen as they are, each with the tag of one of these."""
        return {
            part.frozen_file: other.tag
            for other in others
            for part in other.parts
            if part.frozen_file and other.tag != self.tag
        }
