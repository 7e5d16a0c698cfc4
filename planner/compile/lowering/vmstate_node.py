"""Design `vmstate-node`: machine state on a qcow2 node of its own, beside the disks (facts 90 to 92).

`blockdev-add` of a new image before the pause; `stop`; a `snapshot-save` over that node alone; one
transaction for all disks, internal snapshots and overlays mixed; `cont`; `blockdev-del`.  No disk of the
guest ever holds vmstate, so no fault can leave any there, and the disks may all be external though the
machine state is in QEMU's snapshot format.  The order inside qcow2 is the job's own.

Only a request that says `machine-state: {image: PATH}` gets it.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.compile.lowering.common import (
    capture_disks,
    delete_replaced,
    ends_of_copies,
    finish_parts,
    pause_guest,
    prepare_parts,
    resume_guest,
    save_into_own_node,
)
from planner.compile.lowering.settings import around_vmstate
from planner.errors import InternalError, Problem
from planner.model.operations import Kind, Operation
from planner.program.program import Step, Target, Undo, UndoKind
from planner.program.resolution import Resolution, VmstateNode

__all__ = ["NAME", "instructions", "problems"]

NAME = "vmstate-node"

_REMOVE_TIMEOUT_S = 300
_KEEP_TIMEOUT_S = 3600
"""An image of many gigabytes is written back, and its digest made, before it gets its name."""


def problems(resolution: Resolution) -> Iterator[Problem]:
    """Why this design cannot do the request; nothing where it can."""
    if resolution.vmstate_node is None:
        yield Problem(
            "design-cannot",
            "machine-state",
            f"design {NAME} gives machine state an image of its own, and the request asks for none",
            "write `machine-state: {image: PATH}`, or use another design",
        )


def instructions(resolution: Resolution) -> Iterator[Step]:
    """The steps that cover the request, in no order."""
    own = resolution.vmstate_node
    if own is None:
        raise InternalError("a design for an image of its own was given a request without one")
    yield from around_vmstate(resolution)
    yield from delete_replaced(resolution)
    yield from prepare_parts(resolution)
    if resolution.pauses:
        yield pause_guest()
    yield save_into_own_node(resolution, own)
    yield from capture_disks(resolution)
    if resolution.resumes:
        yield resume_guest(resolution)
    yield from finish_parts(resolution)
    yield from _put_away(own, tuple(_everything(resolution, own)))


def _everything(resolution: Resolution, own: VmstateNode) -> Iterator[Operation]:
    """What comes before anything is put away, also where the guest stood and no `cont` is sent."""
    yield Operation(Kind.DISCARD_VMSTATE, disk=own.node)
    yield from (Operation(Kind.SNAPSHOT_DISK, disk=part.disk) for part in resolution.internal)
    yield from (Operation(Kind.SWITCH_TO_OVERLAY, disk=each.disk) for each in resolution.overlays)
    yield from ends_of_copies(resolution)
    yield Operation(Kind.RESUME_GUEST)


def _put_away(own: VmstateNode, after: tuple[Operation, ...]) -> Iterator[Step]:
    """Take the node out of QEMU, which closes the image, and give that its name."""
    yield Step(
        execute="blockdev-del",
        arguments={"node-name": own.node},
        covers=(),
        timeout_s=_REMOVE_TIMEOUT_S,
        follows=after,
    )
    yield Step(
        execute="remove-fd",
        arguments={"fdset-id": own.descriptor_set},
        covers=(),
        follows=after,
    )
    yield Step(
        execute="keep-stream",
        arguments={"path": own.path, "temporary": own.temporary},
        covers=(),
        undo=(Undo(UndoKind.REMOVE_FILE, own.node),),
        timeout_s=_KEEP_TIMEOUT_S,
        target=Target.HOST,
        follows=after,
    )
