"""Steps that several designs share, and what none of them can do yet."""

from __future__ import annotations

from collections.abc import Iterator

from planner.errors import Problem
from planner.model.operations import Kind, Operation
from planner.program.program import Step, Target, Undo, UndoKind, WaitsFor, job_id
from planner.program.resolution import InternalPart, Overlay, Resolution

__all__ = [
    "SAVE_TIMEOUT_S",
    "TRANSACTION_TIMEOUT_S",
    "delete_replaced",
    "add_overlays",
    "capture_disks",
    "no_overlays",
    "no_stream",
    "pause_guest",
    "resume_guest",
    "snapshot_save",
]

SAVE_TIMEOUT_S = 1800
"""Half an hour: a save cannot be cancelled (fact 2), so giving up early gains nothing."""
TRANSACTION_TIMEOUT_S = 300
_HOST_TIMEOUT_S = 120


def no_overlays(design: str, resolution: Resolution) -> Iterator[Problem]:
    """Why a design of internal snapshots only cannot do this request."""
    for overlay in resolution.overlays:
        yield Problem(
            "design-cannot",
            overlay.disk,
            f"design {design} makes internal snapshots only, and this part is to be external",
            "use design transactional",
        )


def no_stream(design: str, resolution: Resolution) -> Iterator[Problem]:
    """Why a design that writes machine state into an image cannot do this request."""
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


def add_overlays(resolution: Resolution) -> Iterator[Step]:
    """Make each overlay's image, and give QEMU a node of it.  Nothing of the guest's is touched yet.

    The image names its base as backing file, for whoever opens it later; the node is added without
    one, since `blockdev-snapshot` puts it on the base's node itself.
    """
    for overlay in resolution.overlays:
        added = Operation(Kind.ADD_OVERLAY, disk=overlay.disk)
        yield Step(
            execute="create-overlay",
            arguments={
                "path": overlay.path,
                "base": overlay.base_file,
                "base-format": overlay.base_format,
                "size": overlay.size_bytes,
            },
            covers=(),
            undo=(Undo(UndoKind.REMOVE_FILE, overlay.disk),),
            timeout_s=_HOST_TIMEOUT_S,
            target=Target.HOST,
            precedes=(added,),
        )
        yield Step(
            execute="blockdev-add",
            arguments={
                "driver": "qcow2",
                "node-name": overlay.overlay,
                "file": {"driver": "file", "filename": overlay.path},
                "backing": None,
            },
            covers=(added,),
            undo=(Undo(UndoKind.REMOVE_OVERLAY, overlay.disk),),
            timeout_s=TRANSACTION_TIMEOUT_S,
        )


def capture_disks(
    tag: str, parts: tuple[InternalPart, ...], overlays: tuple[Overlay, ...]
) -> Iterator[Step]:
    """One transaction that snapshots disks and puts overlays on others: all or nothing (fact 14)."""
    actions: list[dict[str, object]] = [
        {
            "type": "blockdev-snapshot-internal-sync",
            "data": {"device": part.root, "name": tag},
        }
        for part in parts
    ]
    actions += [
        {"type": "blockdev-snapshot", "data": {"node": overlay.node, "overlay": overlay.overlay}}
        for overlay in overlays
    ]
    if not actions:
        return
    undo = [Undo(UndoKind.DELETE_PART, part.disk) for part in reversed(parts)]
    undo += [Undo(UndoKind.REMOVE_OVERLAY, overlay.disk) for overlay in reversed(overlays)]
    covers = [Operation(Kind.SNAPSHOT_DISK, disk=part.disk) for part in parts]
    covers += [Operation(Kind.SWITCH_TO_OVERLAY, disk=overlay.disk) for overlay in overlays]
    yield Step(
        execute="transaction",
        arguments={"actions": actions},
        covers=tuple(covers),
        atomic=True,
        undo=tuple(undo),
        timeout_s=TRANSACTION_TIMEOUT_S,
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
