"""Whether a snapshot can be deleted, and in which order: nothing that another needs, nothing foreign.

A part is deleted where the VM shows its very id, tag and vm-clock; one that is gone is gone, so that a
delete that was interrupted is finished by another one.  What looks like a part and is of another instant
is somebody else's and stops all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum

from attrs import evolve, frozen

from planner.compile.refusals import vm_problems as busy_problems
from planner.errors import Problem, Refused, in_order
from planner.model.facts import Disk, Facts
from planner.model.image import Image
from planner.model.manifest import Manifest, ManifestPart, PartKind
from planner.parts.merge_checks import MergedOverlay, merge_job, merge_problems, merged
from planner.parts.part_checks import part_of

__all__ = [
    "DeletePlan",
    "DeletedPart",
    "Overlays",
    "foreign_problems",
    "needed_problems",
    "plan_delete",
    "plan_delete_offline",
]


class Overlays(StrEnum):
    """What becomes of the overlays of a snapshot that is deleted."""

    COMMIT = "commit"
    """What the guest wrote since is merged back into the frozen image, and the overlay goes."""
    KEEP = "keep"
    """The chain of images stays as it is; only the record that it is a snapshot goes."""


@frozen
class DeletedPart:
    """One internal part.

    Attributes:
        disk: Canonical name.
        node: Live name of its image node; empty offline.
        root: What ``blockdev-snapshot-delete-internal-sync`` takes; empty offline.
        file: Its image.
        snapshot_id: Its id.
        vm_clock_ns: Its instant.
    """

    disk: str
    node: str
    root: str
    file: str
    snapshot_id: str
    vm_clock_ns: int


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
    inside = {(p.file, p.snapshot_id): p for p in manifest.of_kind(PartKind.INTERNAL)}
    streams = {part.file: part for part in manifest.of_kind(PartKind.STREAM)}
    overlays = {part.overlay_file: part for part in manifest.of_kind(PartKind.OVERLAY)}
    bases = {part.file: part for part in manifest.of_kind(PartKind.OVERLAY)}
    for other in others:
        if other.tag == manifest.tag:
            continue
        remedy = f"delete {other.tag!r} first"
        for theirs in other.parts:
            below = overlays.get(theirs.file)
            if theirs.kind is PartKind.INTERNAL:
                own = inside.get((theirs.file, theirs.snapshot_id))
                words = f"snapshot {theirs.snapshot_id} of {theirs.file} is a part of {other.tag!r}, too"
            elif theirs.kind is PartKind.STREAM:
                own = streams.get(theirs.file)
                words = f"{theirs.file} is the machine state of {other.tag!r}, too"
            else:
                own, words = None, ""
            if own is not None:
                yield Problem("part-needed", own.disk or own.file, words, remedy)
            if below is not None:
                words = f"{other.tag!r} has a part in {theirs.file}, which lies over {below.file}"
                yield Problem("part-needed", below.disk, words, remedy)
                continue
            for base in filter(None, map(bases.get, _needed_unchanged(theirs))):
                words = (
                    f"{base.file} belongs to {other.tag!r}, too, as it is: a merge would change it"
                )
                remedy = f"delete {other.tag!r} first (--overlays keep)"
                yield Problem("part-needed", base.disk, words, remedy)


def _needed_unchanged(part: ManifestPart) -> Iterator[str]:
    """The files that a part needs as they are, and that a merge could change."""
    if part.kind is PartKind.OVERLAY:
        yield part.file
    yield from (image.file for image in part.backing or ())


def foreign_problems(
    manifest: Manifest, images: Mapping[str, Mapping[str, Image]]
) -> Iterator[Problem]:
    """Where it cannot be told whether a part is there, or what is there is not the part."""
    for part in manifest.of_kind(PartKind.INTERNAL):
        files = images.get(part.disk, {})
        image = files.get(part.file)
        if image is None:
            yield Problem(
                "part-disk-missing",
                part.disk,
                f"its image {part.file} is not there, so its part cannot be looked for",
                "attach it again, or delete with --offline where it lies",
            )
            continue
        found = part_of(part, manifest.tag, image.holding(manifest.tag))
        if found is not None and found.vm_clock_ns != part.vm_clock_ns:
            yield Problem(
                "part-differs",
                part.disk,
                f"snapshot {part.snapshot_id} {manifest.tag!r} is of another instant than recorded "
                "(fact 15): it is somebody else's",
                "delete it by id and name, if it is not wanted; then delete again",
            )
        elif found is not None and not image.active:
            yield Problem(
                "part-under-overlay",
                part.disk,
                f"its part is in {part.file}, and an overlay lies above it since",
                "delete the later snapshots first, or use --offline",
            )


def _vm_problems(manifest: Manifest, facts: Facts) -> Iterator[Problem]:
    for problem in busy_problems(facts, machine_state=False):
        if problem.code != "run-state-unsupported":
            yield problem
    own = {part.disk: merge_job(part) for part in manifest.of_kind(PartKind.OVERLAY)}
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


def _choice_problems(
    manifest: Manifest, overlays: Overlays | None, *, files_here: bool
) -> Iterator[Problem]:
    frozen_disks = manifest.of_kind(PartKind.OVERLAY)
    for part in frozen_disks if overlays is None else ():
        yield Problem(
            "overlays-undecided",
            part.disk,
            f"{part.overlay_file} lies over its frozen image {part.file}",
            "say --overlays commit to merge it back, or --overlays keep",
        )
    touched = manifest.of_kind(PartKind.STREAM)
    if overlays is Overlays.COMMIT:
        touched += frozen_disks
    for part in () if files_here else touched:
        words = f"{part.file} is on QEMU's host, which is not known to be this machine"
        yield Problem("host-not-here", part.disk or part.file, words, "run snapplan there")


def plan_delete(  # noqa: PLR0913 - what a delete is decided on
    manifest: Manifest,
    facts: Facts,
    images: Mapping[str, Mapping[str, Image]],
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
    commit = overlays is Overlays.COMMIT
    problems = [
        *_choice_problems(manifest, overlays, files_here=files_here),
        *needed_problems(_touched(manifest, commit=commit), others),
        *foreign_problems(manifest, images),
        *(merge_problems(manifest, images, absent) if commit else ()),
        *_vm_problems(manifest, facts),
    ]
    _refuse(manifest, problems)
    by_name = {disk.name: disk for disk in facts.disks}
    parts, gone = [], []
    for part in _state_first(manifest):
        disk = by_name[part.disk]
        if part_of(part, manifest.tag, images[part.disk][part.file].snapshots) is None:
            gone.append(part.disk)
            continue
        node = facts.live_nodes.get(disk.node, disk.node)
        parts.append(_deleted(part, node, disk.root))
    merges = []
    for part in manifest.of_kind(PartKind.OVERLAY) if commit else ():
        if part.overlay_file not in images[part.disk]:
            gone.append(part.disk)
            continue
        base = images[part.disk][part.file].node
        merges.append(merged(manifest, part, by_name[part.disk].root, base))
    return _order(manifest, parts, merges, gone, commit=commit)


def plan_delete_offline(
    manifest: Manifest,
    images: Mapping[str, Mapping[str, Image]],
    others: Sequence[Manifest],
    overlays: Overlays | None = None,
    *,
    absent: Collection[str] = (),
) -> DeletePlan:
    """Decide a delete on image files that no VM has open; see `plan_delete`.

    An image that is gone has taken its part with it, and an overlay that is gone nothing to merge.
    """
    commit = overlays is Overlays.COMMIT
    problems = [
        *_choice_problems(manifest, overlays, files_here=True),
        *needed_problems(_touched(manifest, commit=commit), others),
        *foreign_problems(_without(manifest, absent), images),
    ]
    _refuse(manifest, problems)
    parts, gone = [], []
    for part in _state_first(manifest):
        held = () if part.file in absent else images[part.disk][part.file].snapshots
        if part_of(part, manifest.tag, held) is None:
            gone.append(part.disk)
        else:
            parts.append(_deleted(part, "", ""))
    merges = []
    for part in manifest.of_kind(PartKind.OVERLAY) if commit else ():
        if part.overlay_file in absent:
            gone.append(part.disk)
        else:
            merges.append(merged(manifest, part, "", ""))
    return evolve(_order(manifest, parts, merges, gone, commit=commit), offline=True)


def _without(manifest: Manifest, absent: Collection[str]) -> Manifest:
    """The parts whose images are there, or may be."""
    parts = [part for part in manifest.parts if part.file not in absent]
    return evolve(manifest, parts=tuple(parts))


def _touched(manifest: Manifest, *, commit: bool) -> Manifest:
    """The parts that a delete touches: overlays that are kept are left to whoever needs them."""
    parts = [part for part in manifest.parts if commit or part.kind is not PartKind.OVERLAY]
    return evolve(manifest, parts=tuple(parts))


def _order(
    manifest: Manifest,
    parts: Sequence[DeletedPart],
    merges: Sequence[MergedOverlay],
    gone: Sequence[str],
    *,
    commit: bool,
) -> DeletePlan:
    kept = () if commit else manifest.of_kind(PartKind.OVERLAY)
    return DeletePlan(
        manifest.tag,
        tuple(parts),
        merges=tuple(merges),
        streams=tuple(part.file for part in manifest.of_kind(PartKind.STREAM)),
        kept=tuple(part.disk for part in kept),
        gone=tuple(gone),
    )


def _refuse(manifest: Manifest, problems: Sequence[Problem]) -> None:
    if problems:
        raise Refused(
            f"snapshot {manifest.tag!r} cannot be deleted safely",
            problems=in_order(problems),
            code="delete-refused",
        )


def _state_first(manifest: Manifest) -> list[ManifestPart]:
    internal = manifest.of_kind(PartKind.INTERNAL)
    return sorted(internal, key=lambda part: (not part.vm_state_size_bytes, part.disk))


def _deleted(part: ManifestPart, node: str, root: str) -> DeletedPart:
    return DeletedPart(part.disk, node, root, part.file, part.snapshot_id, part.vm_clock_ns)
