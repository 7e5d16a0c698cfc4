"""How a snapshot inside an image is made: `planner.parts.internal`, before it is there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import ClassVar

from attrs import frozen

from planner.errors import Problem
from planner.model.facts import Disk, Facts, SnapshotInfo
from planner.model.operations import Kind, Operation
from planner.model.request import ExistingTag, Request, Wish
from planner.parts.image_limits import has_room
from planner.parts.internal import InternalSnapshot
from planner.parts.making import DiskCapture, Making, NotShown, Shown, ShownPart, backing_of
from planner.parts.reverted_disk import can_be_internal
from planner.program.program import Undo, UndoKind
from planner.program.resolution import InternalPart, Resolution

__all__ = ["MakeInternal", "ShownSnapshot"]


@frozen
class ShownSnapshot(ShownPart):
    """A snapshot in an image.

    Attributes:
        disk: The disk's canonical name.
        node: Its image node.
        filename: The image.
        snapshot: The snapshot.
    """

    plain_key: ClassVar[str] = "parts"

    disk: str
    node: str
    filename: str
    snapshot: SnapshotInfo

    @property
    def state_bytes(self) -> int:
        """Bytes of machine state in it."""
        return self.snapshot.vm_state_size_bytes

    @property
    def instant_ns(self) -> int | None:
        """The guest's clock in it."""
        return self.snapshot.vm_clock_ns

    @property
    def plain_id(self) -> str:
        """QEMU's id of it."""
        return self.snapshot.id

    def recorded(self, disks: Mapping[str, Disk]) -> InternalSnapshot:
        """What the manifest has of it."""
        disk = disks[self.disk]
        return InternalSnapshot(
            disk=self.disk,
            qdev=disk.qdev,
            node=disk.node,
            root=disk.root,
            file=self.filename,
            format=disk.driver,
            snapshot_id=self.snapshot.id,
            vm_clock_ns=self.snapshot.vm_clock_ns,
            vm_state_size_bytes=self.snapshot.vm_state_size_bytes,
            virtual_size_bytes=disk.virtual_size_bytes,
            backing=backing_of(disk),
            place=disk.place,
            key_secret=disk.key_secret,
        )

    def to_plain(self) -> dict[str, object]:
        """What a program is shown of it."""
        return {
            "disk": self.disk,
            "node": self.node,
            "file": self.filename,
            "id": self.snapshot.id,
            "tag": self.snapshot.name,
            "vm-clock-ns": self.snapshot.vm_clock_ns,
            "vm-state-size": self.snapshot.vm_state_size_bytes,
        }


class MakeInternal(Making):
    """Snapshots inside images."""

    def can_be(self, disk: Disk) -> Iterator[Problem]:
        """Why an image holds no internal snapshot, or no further one."""
        yield from can_be_internal(disk)
        yield from has_room(disk)

    def refusals(self, disk: Disk, wish: Wish, request: Request) -> Iterator[Problem]:
        """The same, with what the request says of an older snapshot of its tag."""
        held = disk.holding(request.tag)
        yield from can_be_internal(disk)
        if held and request.existing_tag is ExistingTag.REFUSE:
            ids = ", ".join(snapshot.id for snapshot in held)
            yield Problem(
                "tag-taken",
                disk.name,
                f"it already holds {request.tag!r} (id {ids}); QEMU would make a second one of that "
                "name where only some disks have it (fact 7)",
                "choose another tag, delete the old one, or say `existing-tag: replace`",
            )
        replaced = request.existing_tag is ExistingTag.REPLACE
        yield from has_room(disk, len(held) if replaced else 0)

    def warnings(self, disk: Disk, facts: Facts) -> Iterator[str]:
        """A bitmap in the image stops a load."""
        if any(bitmap.persistent for bitmap in disk.bitmaps):
            yield (
                f"{disk.name} has a persistent dirty bitmap: saving works, but loading will fail "
                "there until it is removed (fact 20)"
            )
        if any(not bitmap.name for bitmap in disk.bitmaps):
            yield (
                f"{disk.name} has a dirty bitmap of QEMU's own (a copy-before-write filter, a job): "
                "saving works, but loading will be refused as long as it is there (fact 20)"
            )

    def asked_for(self, wish: Wish) -> str:
        """The wish as a plan shows it."""
        return "internal"

    label: ClassVar[str] = "disks"
    field: ClassVar[str] = "internal"

    def state_words(self, resolution: Resolution) -> str:
        """In which disk's image."""
        return f"internal, in {resolution.vmstate}" if resolution.vmstate else ""

    def planned(self, tag: str, disk: Disk, wish: Wish, facts: Facts) -> InternalPart:
        """By which node and root it is taken."""
        return InternalPart(disk.name, disk.node, disk.root)

    def disks(self, resolution: Resolution) -> tuple[str, ...]:
        """The disks that get a snapshot."""
        return tuple(part.disk for part in resolution.internal)

    def commands(self, resolution: Resolution) -> Iterator[str]:
        """To undo: the snapshot is deleted."""
        if resolution.internal:
            yield "blockdev-snapshot-delete-internal-sync"

    def captured(self, resolution: Resolution, disks: Collection[str]) -> Iterator[DiskCapture]:
        """A snapshot of each disk's active layer (fact 14)."""
        for part in resolution.internal:
            if part.disk in disks:
                data = {"device": part.root, "name": resolution.tag}
                yield DiskCapture(
                    {"type": "blockdev-snapshot-internal-sync", "data": data},
                    Operation(Kind.SNAPSHOT_DISK, disk=part.disk),
                    Undo(UndoKind.DELETE_PART, part.disk),
                )

    def confirmed(self, resolution: Resolution, shown: Shown) -> Iterator[ShownSnapshot]:
        """Each once, all of one instant, the machine state where it belongs."""
        parts = []
        for wanted in resolution.internal:
            found = shown.fresh[wanted.disk]
            if len(found) != 1:
                count = f"{len(found)} new snapshots {resolution.tag!r} instead of one"
                raise NotShown("part-count", f"{wanted.disk} holds {count}")
            filename = shown.filenames[wanted.disk]
            parts.append(ShownSnapshot(wanted.disk, wanted.node, filename, found[0]))
        # Fact 15: parts saved while the guest was stopped carry the same vm-clock.  A disk-only
        # snapshot of a running guest is one cut by draining (fact 24), and its clocks may differ.
        stopped = resolution.has_machine_state or resolution.run_state_before != "running"
        clocks = {part.snapshot.vm_clock_ns for part in parts}
        if stopped and len(clocks) > 1:
            raise NotShown(
                "parts-differ", "the parts are of different instants (vm-clock, fact 15)"
            )
        for part in parts:
            holds = part.state_bytes > 0
            if holds != (part.disk == resolution.vmstate):
                how = "holds" if holds else "lacks"
                raise NotShown("vmstate-misplaced", f"the part on {part.disk} {how} machine state")
        yield from parts
