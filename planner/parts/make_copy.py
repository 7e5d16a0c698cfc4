"""How a disk is copied while the guest runs on: `planner.parts.copied`, before it is there.

`blockdev-backup` with ``sync: full`` begins in the transaction of the other parts.  From then on QEMU
holds back each write of the guest until what was there before is copied, so that the copy is of that one
instant (fact 111).  Where the copy cannot be written meanwhile, a QEMU that knows no ``on-cbw-error``
fails the guest's own write (fact 113); so the file's room on the host is taken before anything begins,
and a copy that has no room fails there.

A raw copy's node is its file itself (fact 115): a raw image is nothing but the file's bytes, and QEMU
does not look into a file to which it was told to add ``driver: file``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import ClassVar

from attrs import frozen

from planner.errors import Problem
from planner.model.facts import Disk, Facts
from planner.model.image_place import Reach
from planner.model.node_names import OVERLAY_NODE_PREFIX
from planner.model.operations import Kind, Operation
from planner.model.request import Copy, CopyFormat, Wish
from planner.parts.copied import CopiedDisk
from planner.parts.disk_checks import elsewhere, inactive
from planner.parts.making import DiskCapture, Making, NotShown, Shown, ShownPart
from planner.program.program import Step, Target, Undo, UndoKind, WaitsFor
from planner.program.resolution import DiskCopy, Resolution
from planner.program.schema import CommandSchema

__all__ = ["MakeCopy", "ShownCopy", "ends_copy"]

_HOST_TIMEOUT_S = 600
_ADD_TIMEOUT_S = 300
_COPY_TIMEOUT_S = 24 * 3600
"""A day: a copy can be cancelled at any time, and the guest runs on meanwhile."""
_KEEP_TIMEOUT_S = 3600


_SPARING = {"on-cbw-error": "break-snapshot"}


def _spares_guest(facts: Facts) -> bool:
    """Whether this QEMU can let a guest's write through where the copy cannot be written."""
    data = {"device": "d", "target": "t", "sync": "full", **_SPARING}
    actions = [{"type": "blockdev-backup", "data": data}]
    return not CommandSchema.of(facts.schema).problems("transaction", {"actions": actions})


def _node(copy: DiskCopy) -> dict[str, object]:
    """The node of a copy's file."""
    file: dict[str, object] = {"driver": "file", "filename": copy.temporary}
    if copy.format == "raw":
        return {**file, "node-name": copy.target}
    return {"driver": "qcow2", "node-name": copy.target, "file": file}


def ends_copy(step: Step, resolution: Resolution) -> bool:
    """Whether a step sees a copy whole, or closes or names one, and does nothing else."""
    if step.execute == "blockdev-del":
        return step.arguments["node-name"] in {copy.target for copy in resolution.copies}
    return step.waits_for is WaitsFor.COPIED or step.execute == "keep-copy"


@frozen
class ShownCopy(ShownPart):
    """A full copy of a disk.

    Attributes:
        disk: The disk's canonical name.
        filename: The copy.
        size_bytes: The disk's size.
        file_bytes: The copy's length.
        format: What kind of image it is.
    """

    plain_key: ClassVar[str] = "copies"

    disk: str
    filename: str
    size_bytes: int
    file_bytes: int
    format: str = "qcow2"

    def recorded(self, disks: Mapping[str, Disk]) -> CopiedDisk:
        """What the manifest has of it."""
        disk = disks[self.disk]
        return CopiedDisk(
            disk=self.disk,
            qdev=disk.qdev,
            node=disk.node,
            root=disk.root,
            file=self.filename,
            format=self.format,
            virtual_size_bytes=disk.virtual_size_bytes,
            backing=(),
            size_bytes=self.file_bytes,
        )

    def to_plain(self) -> dict[str, object]:
        """What a program is shown of it."""
        return {
            "disk": self.disk,
            "file": self.filename,
            "format": self.format,
            "virtual-size": self.size_bytes,
            "size": self.file_bytes,
        }

    @property
    def image_bytes(self) -> int:
        """The copy's length."""
        return self.file_bytes

    @property
    def more(self) -> str:
        """That the disk itself is as before."""
        return " is a copy; the guest's disk is as before"


class MakeCopy(Making):
    """Full copies of disks."""

    def can_be(self, disk: Disk) -> Iterator[Problem]:
        """Why a disk cannot be copied; nothing where it can."""
        if disk.read_only:
            yield Problem("disk-read-only", disk.name, "it is open for reading only", "exclude it")
        if disk.encrypted:
            yield Problem(
                "copy-of-encrypted",
                disk.name,
                "it is encrypted, and its copy would not be",
                "make the part internal, or exclude it",
            )
        elif disk.place.reach is Reach.ELSEWHERE:
            yield elsewhere(disk, "a copy")
        yield from inactive(disk, disk.name)

    def warnings(self, disk: Disk, facts: Facts) -> Iterator[str]:
        """What an error of the copy's file does."""
        if _spares_guest(facts):
            return
        yield (
            f"{disk.name} is copied while the guest runs: should the copy's file fail to be written "
            "meanwhile, QEMU fails a write of the guest (fact 113); its room is taken beforehand, so "
            "that a full host is no such failure"
        )

    def new_file(self, wish: Wish) -> str | None:
        """The copy."""
        return wish.path if isinstance(wish, Copy) else None

    def asked_for(self, wish: Wish) -> str:
        """The wish as a plan shows it."""
        raw = ", raw" if isinstance(wish, Copy) and wish.format is CopyFormat.RAW else ""
        return f"copy: {self.new_file(wish)}{raw}"

    label: ClassVar[str] = "copied"
    field: ClassVar[str] = "copies"

    def planned(self, tag: str, disk: Disk, wish: Wish, facts: Facts) -> DiskCopy:
        """The copy, with all that is needed to make it."""
        path = self.new_file(wish) or ""
        digest = hashlib.sha256(f"{tag}\0copy\0{path}".encode()).hexdigest()
        return DiskCopy(
            disk=disk.name,
            root=disk.root,
            path=path,
            target=f"{OVERLAY_NODE_PREFIX}{digest[:12]}",
            base_file=disk.filename,
            size_bytes=disk.virtual_size_bytes,
            job=f"snapplan-copy-{digest[:16]}",
            spares_guest=_spares_guest(facts),
            format=str(wish.format) if isinstance(wish, Copy) else "qcow2",
        )

    def disks(self, resolution: Resolution) -> tuple[str, ...]:
        """The disks that are copied."""
        return tuple(copy.disk for copy in resolution.copies)

    def commands(self, resolution: Resolution) -> Iterator[str]:
        """To undo: the job is cancelled, and the node of the copy's file taken out."""
        if resolution.copies:
            yield from ("blockdev-del", "job-cancel", "job-dismiss")

    def files(self, resolution: Resolution) -> tuple[str, ...]:
        """The copies."""
        return tuple(copy.path for copy in resolution.copies)

    def prepared(self, resolution: Resolution) -> Iterator[Step]:
        """Make each copy's file under its temporary name, with all its room, and give QEMU a node."""
        for copy in resolution.copies:
            added = Operation(Kind.ADD_TARGET, disk=copy.disk)
            yield Step(
                execute="create-copy",
                arguments={
                    "path": copy.path,
                    "temporary": copy.temporary,
                    "base": copy.base_file,
                    "size": copy.size_bytes,
                    **({"format": copy.format} if copy.format == "raw" else {}),
                },
                covers=(),
                undo=(Undo(UndoKind.REMOVE_FILE, copy.disk),),
                timeout_s=_HOST_TIMEOUT_S,
                target=Target.HOST,
                precedes=(added,),
            )
            yield Step(
                execute="blockdev-add",
                arguments=_node(copy),
                covers=(added,),
                undo=(Undo(UndoKind.REMOVE_TARGET, copy.disk),),
                timeout_s=_ADD_TIMEOUT_S,
            )

    def captured(self, resolution: Resolution, disks: Collection[str]) -> Iterator[DiskCapture]:
        """The copy begins, and is of this instant."""
        for copy in resolution.copies:
            if copy.disk in disks:
                data: dict[str, object] = {
                    "job-id": copy.job,
                    "device": copy.root,
                    "target": copy.target,
                    "sync": "full",
                    "auto-dismiss": False,
                }
                data |= _SPARING if copy.spares_guest else {}
                yield DiskCapture(
                    {"type": "blockdev-backup", "data": data},
                    Operation(Kind.BEGIN_COPY, disk=copy.disk),
                    Undo(UndoKind.CANCEL_COPY, copy.disk),
                )

    def finished(self, resolution: Resolution) -> Iterator[Step]:
        """Wait for each copy; then close each file and give it its name.

        All are waited for first: should one fail, the guest may stand (fact 113), and to write back
        another one's file would have it stand on.
        """
        ends = [Operation(Kind.END_COPY, disk=copy.disk) for copy in resolution.copies]
        for copy, end in zip(resolution.copies, ends, strict=True):
            follows = (end, *(other for other in ends if other != end))
            yield Step(
                execute="query-jobs",
                arguments={},
                covers=(end,),
                waits_for=WaitsFor.COPIED,
                undo=(Undo(UndoKind.CANCEL_COPY, copy.disk),),
                timeout_s=_COPY_TIMEOUT_S,
            )
            yield Step(
                execute="blockdev-del",
                arguments={"node-name": copy.target},
                covers=(),
                follows=follows,
                timeout_s=_ADD_TIMEOUT_S,
            )
            yield Step(
                execute="keep-copy",
                arguments={"path": copy.path, "temporary": copy.temporary},
                covers=(),
                undo=(Undo(UndoKind.REMOVE_FILE, copy.disk),),
                timeout_s=_KEEP_TIMEOUT_S,
                target=Target.HOST,
                follows=follows,
            )

    def confirmed(self, resolution: Resolution, shown: Shown) -> Iterator[ShownCopy]:
        """Each copy has its name."""
        for copy in resolution.copies:
            kept = shown.copies.get(copy.path)
            if kept is None:
                raise NotShown("part-count", f"the copy of {copy.disk} has not got its name")
            yield ShownCopy(copy.disk, copy.path, copy.size_bytes, kept.size_bytes, copy.format)
