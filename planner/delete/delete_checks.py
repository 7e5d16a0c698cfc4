"""Whether a snapshot can be deleted, and in which order: nothing that another needs, nothing foreign.

A part is deleted where the VM shows its very id, tag and vm-clock; one that is gone is gone, so that a
delete that was interrupted is finished by another one.  What looks like a part and is of another instant
is somebody else's and stops all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from attrs import evolve, frozen

from planner.compile.refusals import vm_problems as busy_problems
from planner.errors import Problem, Refused, in_order
from planner.model.facts import Disk, Facts
from planner.parts.deletions import (
    DeletedPart,
    DeletionOrigin,
    MergedOverlay,
    Overlays,
    RemovedFile,
)
from planner.parts.manifest import Manifest
from planner.parts.part_image import ImagesByDisk

__all__ = [
    "DeletePlan",
    "DeletedPart",
    "Overlays",
    "needed_problems",
    "plan_delete",
    "plan_delete_offline",
]


@frozen
class DeletePlan:
    """A delete that passed the preflight, with nothing left to decide.

    Attributes:
        tag: The snapshot's tag.
        parts: Internal parts that are there, the machine state's first: what is left after a crash
            can then never be loaded by accident.
        merges: Overlays that are merged back, before anything is deleted: it is what can fail.
        streams: Files of machine state that are removed, before any internal part.
        kept: Disks whose overlays stay as they are.
        gone: Disks whose parts are gone already.
        offline: Whether image files are worked on, without a VM.
        manifest_file: The manifest, which goes last.
    """

    tag: str
    parts: tuple[DeletedPart, ...]
    merges: tuple[MergedOverlay, ...] = ()
    streams: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    offline: bool = False
    manifest_file: str = ""


def needed_problems(manifest: Manifest, others: Sequence[Manifest]) -> Iterator[Problem]:
    """What of a snapshot another one needs, too; the manifest itself may be among the others."""
    for other in others:
        if other.tag == manifest.tag:
            continue
        for theirs in other.parts:
            for part in manifest.parts:
                yield from part.needed_by(theirs, other.tag)


def _vm_problems(manifest: Manifest, facts: Facts) -> Iterator[Problem]:
    for problem in busy_problems(facts, machine_state=False):
        if problem.code != "run-state-unsupported":
            yield problem
    own = {part.disk: part.merge_job for part in manifest.parts}
    parts = {part.disk for part in manifest.parts}
    for disk in facts.disks:
        if disk.name in parts:
            yield from _disk_problems(disk, own.get(disk.name, ""))


def _disk_problems(disk: Disk, own_job: str) -> Iterator[Problem]:
    if not disk.active:
        words = "its node is inactive after a migration, and QEMU would die (fact 35)"
        yield Problem("node-inactive", disk.name, words, "resume the VM first")
    if disk.read_only:
        yield Problem("disk-read-only", disk.name, "it is open for reading only")
    for user in disk.users:
        if user != own_job:
            words = f"block job {user!r} uses it"
            yield Problem("disk-busy", disk.name, words, "wait for the job, or cancel it")


def plan_delete(  # noqa: PLR0913 - what a delete is decided on
    manifest: Manifest,
    facts: Facts,
    images: ImagesByDisk,
    others: Sequence[Manifest],
    overlays: Overlays | None = None,
    *,
    files_here: bool = True,
    absent: Collection[str] = (),
) -> DeletePlan:
    """Decide a delete on a running VM.

    Args:
        manifest: The snapshot.
        facts: The VM now.
        images: What its disks' images hold.
        others: The manifests of the VM.
        overlays: What becomes of overlays; None: nobody said.
        files_here: Whether the VM's files are this machine's.
        absent: Images that are known not to be there.

    Raises:
        Refused: With every problem; the VM was asked questions only.
    """
    origin = DeletionOrigin(
        manifest.tag,
        images,
        overlays,
        absent,
        disks={disk.name: disk for disk in facts.disks},
        live_nodes=facts.live_nodes,
        files_here=files_here,
        frozen_ns=manifest.ended_ns,
    )
    return _order(manifest, origin, others, _vm_problems(manifest, facts))


def plan_delete_offline(
    manifest: Manifest,
    images: ImagesByDisk,
    others: Sequence[Manifest],
    overlays: Overlays | None = None,
    *,
    absent: Collection[str] = (),
) -> DeletePlan:
    """Decide a delete on image files that no VM has open; see `plan_delete`.

    An image that is gone has taken its part with it, and an overlay that is gone nothing to merge.
    """
    origin = DeletionOrigin(
        manifest.tag,
        images,
        overlays,
        absent,
        disks=None,
        live_nodes={},
        files_here=True,
        frozen_ns=manifest.ended_ns,
    )
    return evolve(_order(manifest, origin, others, ()), offline=True)


def _order(
    manifest: Manifest,
    origin: DeletionOrigin,
    others: Sequence[Manifest],
    vm_problems: Iterable[Problem],
) -> DeletePlan:
    touched = [part for part in manifest.parts if part.deleted_with(origin.overlays)]
    problems = [
        *needed_problems(evolve(manifest, parts=tuple(touched)), others),
        *(problem for part in manifest.parts for problem in part.delete_problems(origin)),
        *vm_problems,
    ]
    _refuse(manifest, problems)
    state_first = sorted(touched, key=lambda part: (not part.holds_state, part))
    decided = [(part, part.deletion(origin)) for part in state_first]
    deletions = [deletion for _, deletion in decided if deletion is not None]
    return DeletePlan(
        manifest.tag,
        tuple(each for each in deletions if isinstance(each, DeletedPart)),
        merges=tuple(each for each in deletions if isinstance(each, MergedOverlay)),
        streams=tuple(each.file for each in deletions if isinstance(each, RemovedFile)),
        kept=tuple(part.disk for part in manifest.parts if part not in touched),
        gone=tuple(part.disk for part, deletion in decided if deletion is None),
    )


def _refuse(manifest: Manifest, problems: Sequence[Problem]) -> None:
    if problems:
        raise Refused(
            f"snapshot {manifest.tag!r} cannot be deleted safely",
            problems=in_order(problems),
            code="delete-refused",
        )
