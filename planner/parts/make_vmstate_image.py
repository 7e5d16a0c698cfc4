"""How machine state gets an image of its own: `planner.parts.vmstate_image`, before it is there.

QEMU's `snapshot-save` takes any node that can hold snapshots, and no guest need use it (fact 90): so the
host makes a small qcow2 image, passes it to QEMU by a descriptor (whoever QEMU runs as may write to it,
and nobody else may open it), and QEMU gets a node of it before the pause.  It grows as it is written to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from attrs import frozen

from planner.errors import Problem
from planner.model.facts import Disk, Facts, SnapshotInfo
from planner.model.file_record import FileRecord
from planner.model.operations import Kind, Operation
from planner.model.request import ImageMachineState
from planner.parts.making import KeptFile, Making, NotShown, Shown, ShownPart
from planner.parts.vmstate_image import VmstateImage
from planner.program.program import DESCRIPTOR_NAME, Step, Target, Undo, UndoKind
from planner.program.resolution import Choice, Resolution, VmstateNode, overlay_node_name
from planner.program.schema import CommandSchema

__all__ = [
    "MakeVmstateImage",
    "ShownVmstateImage",
    "vmstate_node_choices",
    "vmstate_node_of",
    "vmstate_node_problems",
]

_HOST_TIMEOUT_S = 120
_ADD_TIMEOUT_S = 300
_NEEDED = ("add-fd", "blockdev-add", "blockdev-del", "query-fdsets", "remove-fd")


@frozen
class ShownVmstateImage(ShownPart):
    """Machine state in an image of its own.

    Attributes:
        disk: Empty.
        filename: The image.
        node: Its node, while QEMU wrote to it.
        snapshot: The snapshot in it, as QEMU showed it.
        kept: What the file is, as the host has told.
    """

    plain_key: ClassVar[str] = "vmstate-image"

    disk: str
    filename: str
    node: str
    snapshot: SnapshotInfo
    kept: KeptFile

    @property
    def state_bytes(self) -> int:
        """Bytes of machine state in it."""
        return self.snapshot.vm_state_size_bytes

    @property
    def image_bytes(self) -> int:
        """The image's length."""
        return self.kept.size_bytes

    @property
    def instant_ns(self) -> int | None:
        """The guest's clock in it."""
        return self.snapshot.vm_clock_ns

    @property
    def plain_id(self) -> str:
        """QEMU's id of it."""
        return self.snapshot.id

    def recorded(self, disks: Mapping[str, Disk]) -> VmstateImage:
        """What the manifest has of it."""
        return VmstateImage(
            file=self.filename,
            format="qcow2",
            record=FileRecord(sha256=self.kept.sha256),
            snapshot_id=self.snapshot.id,
            vm_clock_ns=self.snapshot.vm_clock_ns,
            vm_state_size_bytes=self.snapshot.vm_state_size_bytes,
        )

    def to_plain(self) -> dict[str, object]:
        """What a program is shown of it."""
        return {
            "file": self.filename,
            "size": self.kept.size_bytes,
            "id": self.snapshot.id,
            "tag": self.snapshot.name,
            "vm-clock-ns": self.snapshot.vm_clock_ns,
            "vm-state-size": self.snapshot.vm_state_size_bytes,
        }


class MakeVmstateImage(Making):
    """Machine state in an image of its own."""

    def state_words(self, resolution: Resolution) -> str:
        """In which image."""
        own = resolution.vmstate_node
        return f"in an image of its own, {own.path}" if own else ""

    def disks(self, resolution: Resolution) -> tuple[str, ...]:
        """None."""
        return ()

    def commands(self, resolution: Resolution) -> Iterator[str]:
        """To look, and to undo."""
        if resolution.vmstate_node is not None:
            yield from _NEEDED

    def files(self, resolution: Resolution) -> tuple[str, ...]:
        """The image."""
        return () if resolution.vmstate_node is None else (resolution.vmstate_node.path,)

    def prepared(self, resolution: Resolution) -> Iterator[Step]:
        """Make the image, pass it to QEMU, and have QEMU make a node of it."""
        own = resolution.vmstate_node
        if own is None:
            return
        added = Operation(Kind.ADD_VMSTATE_NODE, disk=own.node)
        yield Step(
            execute="create-vmstate-image",
            arguments={"path": own.path, "temporary": own.temporary},
            covers=(),
            undo=(Undo(UndoKind.REMOVE_FILE, own.node),),
            timeout_s=_HOST_TIMEOUT_S,
            target=Target.HOST,
            precedes=(added,),
        )
        yield Step(
            execute="add-fd",
            arguments={"fdset-id": own.descriptor_set, "opaque": DESCRIPTOR_NAME},
            covers=(),
            undo=(Undo(UndoKind.CLOSE_DESCRIPTOR),),
            precedes=(added,),
        )
        yield Step(
            execute="blockdev-add",
            arguments={
                "driver": "qcow2",
                "node-name": own.node,
                "file": {"driver": "file", "filename": own.filename},
            },
            covers=(added,),
            undo=(Undo(UndoKind.REMOVE_NODE, own.node),),
            timeout_s=_ADD_TIMEOUT_S,
        )

    def confirmed(self, resolution: Resolution, shown: Shown) -> Iterator[ShownVmstateImage]:
        """QEMU showed one snapshot in it, of the instant of all others, and the file has its name."""
        own = resolution.vmstate_node
        if own is None:
            return
        if shown.kept is None or len(shown.in_own_node) != 1:
            count = f"{len(shown.in_own_node)} snapshots instead of one"
            raise NotShown(
                "part-count", f"the image of the machine state, {own.path}, held {count}"
            )
        found = shown.in_own_node[0]
        if found.name != resolution.tag or not found.vm_state_size_bytes:
            words = f"{own.path} holds {found.name!r} with {found.vm_state_size_bytes} bytes of it"
            raise NotShown("vmstate-misplaced", words)
        clocks = {each.vm_clock_ns for fresh in shown.fresh.values() for each in fresh}
        if clocks - {found.vm_clock_ns}:
            words = "the machine state and the disks are of different instants (vm-clock, fact 15)"
            raise NotShown("parts-differ", words)
        yield ShownVmstateImage("", own.path, own.node, found, shown.kept)


def vmstate_node_problems(facts: Facts) -> Iterator[Problem]:
    """Why this QEMU cannot write its machine state into an image of its own."""
    schema = CommandSchema.of(facts.schema)
    for name in _NEEDED:
        if not schema.has_command(name):
            yield Problem(
                "command-lacking",
                "machine-state",
                f"an image of its own needs {name}, which this QEMU lacks, or the facts do not have",
                "make the facts anew with `snapplan inspect`, or put the machine state elsewhere",
            )


def vmstate_node_of(tag: str, state: ImageMachineState) -> VmstateNode:
    """The image with every choice made."""
    return VmstateNode(state.path, overlay_node_name(tag, state.path))


def vmstate_node_choices(own: VmstateNode) -> Iterator[Choice]:
    """What was chosen for it, and why."""
    why = "no disk's image holds any of it, and QEMU gets the file as a descriptor (fact 75)"
    yield Choice("machine-state", f"on node {own.node}", why, default=True)
