"""Steps that several designs share, and what none of them can do yet."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from planner.errors import Problem
from planner.model.operations import Kind, Operation
from planner.parts.kinds import MAKERS
from planner.parts.making import DiskCapture
from planner.program.program import Step, Undo, UndoKind, WaitsFor, job_id
from planner.program.resolution import InternalPart, Resolution, VmstateNode

__all__ = [
    "SAVE_TIMEOUT_S",
    "TRANSACTION_TIMEOUT_S",
    "delete_replaced",
    "ends_of_copies",
    "finish_parts",
    "capture_disks",
    "internal_only",
    "no_stream",
    "pause_guest",
    "prepare_parts",
    "resume_guest",
    "save_into_own_node",
    "snapshot_save",
]

SAVE_TIMEOUT_S = 1800
"""Half an hour: a save cannot be cancelled (fact 2), so giving up early gains nothing."""
TRANSACTION_TIMEOUT_S = 300


def internal_only(design: str, resolution: Resolution) -> Iterator[Problem]:
    """Why a design of internal snapshots only cannot do this request."""
    inside = {part.disk for part in resolution.internal}
    disks = [disk for making in MAKERS for disk in making.disks(resolution)]
    for disk in (disk for disk in disks if disk not in inside):
        yield Problem(
            "design-cannot",
            disk,
            f"design {design} makes internal snapshots only, and this part is to be external",
            "use design transactional",
        )


def no_stream(design: str, resolution: Resolution) -> Iterator[Problem]:
    """Why a design that writes machine state into a disk's image cannot do this request."""
    if resolution.vmstate_node is not None:
        yield Problem(
            "design-cannot",
            "machine-state",
            f"design {design} writes machine state into a disk's image, not into one of its own",
            "use design vmstate-node",
        )
    if resolution.stream is not None:
        yield Problem(
            "design-cannot",
            "machine-state",
            f"design {design} writes machine state into a qcow2 image only",
            "use design external, live or background, as the capture says",
        )


def pause_guest() -> Step:
    """Stop the guest.  Afterwards the VM is paused."""
    return Step(
        execute="stop",
        arguments={},
        covers=(Operation(Kind.PAUSE_GUEST),),
        waits_for=WaitsFor.STOPPED,
        undo=(Undo(UndoKind.RESUME),),
    )


def resume_guest(resolution: Resolution) -> Step:
    """Let the guest run.  Afterwards the VM is running."""
    return Step(
        execute="cont",
        arguments={},
        covers=(Operation(Kind.RESUME_GUEST),),
        waits_for=WaitsFor.RUNNING,
        undo=() if resolution.pauses else (Undo(UndoKind.PAUSE),),
    )


def delete_replaced(resolution: Resolution) -> Iterator[Step]:
    """Delete what the request gives up for the new snapshot, one by one; nothing undoes that."""
    for old in resolution.replaced:
        yield Step(
            execute="blockdev-snapshot-delete-internal-sync",
            arguments={"device": old.root, "id": old.id, "name": resolution.tag},
            covers=(Operation(Kind.DELETE_DISK_SNAPSHOT, disk=old.disk, detail=old.id),),
            waits_for=WaitsFor.REPLY,
            timeout_s=TRANSACTION_TIMEOUT_S,
        )


def prepare_parts(resolution: Resolution) -> Iterator[Step]:
    """What each kind of part needs before the capture.  Nothing of the guest's is touched yet."""
    for making in MAKERS:
        yield from making.prepared(resolution)


def finish_parts(resolution: Resolution) -> Iterator[Step]:
    """What each kind of part needs after the capture.  The guest goes on meanwhile."""
    for making in MAKERS:
        yield from making.finished(resolution)


def ends_of_copies(resolution: Resolution) -> tuple[Operation, ...]:
    """The ends of all copies: before them the host does nothing slow (the guest may stand, fact 113)."""
    return tuple(Operation(Kind.END_COPY, disk=copy.disk) for copy in resolution.copies)


def capture_disks(resolution: Resolution, but: Collection[str] = ()) -> Iterator[Step]:
    """One transaction that captures disks, each as its kind of part says: all or nothing (fact 14).

    Args:
        resolution: What was decided.
        but: Disks that another step captures.
    """
    undo: list[Undo] = []
    captures: list[DiskCapture] = []
    for making in MAKERS:
        disks = [disk for disk in making.disks(resolution) if disk not in but]
        of_kind = list(making.captured(resolution, disks))
        captures += of_kind
        undo += [capture.undo for capture in reversed(of_kind)]
    if captures:
        yield Step(
            execute="transaction",
            arguments={"actions": [capture.action for capture in captures]},
            covers=tuple(capture.covers for capture in captures),
            atomic=True,
            undo=tuple(undo),
            timeout_s=TRANSACTION_TIMEOUT_S,
        )


def save_into_own_node(resolution: Resolution, own: VmstateNode) -> Step:
    """One `snapshot-save` job over the node that machine state has of its own, the guest standing."""
    kinds = (Kind.WRITE_VMSTATE, Kind.SNAPSHOT_DISK, Kind.DISCARD_VMSTATE)
    return Step(
        execute="snapshot-save",
        arguments={
            "job-id": job_id(resolution),
            "tag": resolution.tag,
            "vmstate": own.node,
            "devices": [own.node],
        },
        covers=tuple(Operation(kind, disk=own.node) for kind in kinds),
        waits_for=WaitsFor.JOB,
        ordered=True,
        undo=(Undo(UndoKind.REMOVE_NODE, own.node),),
        timeout_s=SAVE_TIMEOUT_S,
    )


def snapshot_save(resolution: Resolution, parts: tuple[InternalPart, ...], *, pauses: bool) -> Step:
    """One `snapshot-save` job over some disks, the vmstate's among them.

    Inside, QEMU keeps the order: pause, write the vmstate, snapshot each disk, discard the vmstate
    from the active layer, resume (fact 17).  On an error it deletes what it made, and resumes.
    """
    vmstate = resolution.vmstate
    node = next(part.node for part in parts if part.disk == vmstate)
    covers = [Operation(Kind.WRITE_VMSTATE, disk=vmstate)]
    covers += [Operation(Kind.SNAPSHOT_DISK, disk=part.disk) for part in parts]
    covers.append(Operation(Kind.DISCARD_VMSTATE, disk=vmstate))
    if pauses:
        covers = [Operation(Kind.PAUSE_GUEST), *covers, Operation(Kind.RESUME_GUEST)]
    return Step(
        execute="snapshot-save",
        arguments={
            "job-id": job_id(resolution),
            "tag": resolution.tag,
            "vmstate": node,
            "devices": [part.node for part in parts],
        },
        covers=tuple(covers),
        waits_for=WaitsFor.JOB,
        ordered=True,
        undo=tuple(Undo(UndoKind.DELETE_PART, part.disk) for part in reversed(parts)),
        timeout_s=SAVE_TIMEOUT_S,
    )
