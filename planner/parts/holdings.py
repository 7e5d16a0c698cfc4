"""What manifests record, against what the disks hold: one line of account for each snapshot.

A tag on a disk is no snapshot by itself: QEMU keeps no record of what belongs together.  With a manifest
each part is told by its file, id, tag and vm-clock (fact 15), also where an overlay lies above it since.
Without one a tag is *foreign*: somebody else made it, or its record is gone.  A snapshot is complete
where `verify` finds nothing, and only there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum

from attrs import evolve, frozen

from planner.errors import Problem
from planner.model.ancestor import Ancestor, nearest
from planner.model.facts import Disk, Facts, SnapshotInfo
from planner.model.image import Image
from planner.parts.manifest import Manifest
from planner.parts.part import ManifestPart

__all__ = ["Holding", "Standing", "holdings", "placed"]

_LOST = frozenset({"part-disk-missing", "part-overwritten"})
"""Findings that say of a part that it is not there."""


class Standing(StrEnum):
    """What is to be said of a snapshot as a whole."""

    COMPLETE = "complete"
    """Recorded, every part is there, and `verify` finds nothing."""
    INCOMPLETE = "incomplete"
    """Recorded, and at least one part is not there."""
    DIFFERS = "differs"
    """Recorded, every part is there, and `verify` finds that something is not as it was."""
    FOREIGN = "foreign"
    """On the disks, and not recorded."""


@frozen
class Holding:
    """One tag.

    Attributes:
        tag: The tag.
        standing: How it stands.
        manifest: Its record; None: foreign.
        held: Every snapshot of the tag that a disk holds, recorded or not.
        missing: Recorded parts that are not there.
        extra: Snapshots of the tag that the record does not know; empty where foreign.
        below: Recorded parts in images that the guest does not write to by now.
        findings: What `verify` finds.
        parent: The tag of the snapshot that it was taken after, the nearest that is still there; empty:
            none, or nobody wrote it down.
        current: Whether the VM was last loaded from it, or saved as it.
    """

    tag: str
    standing: Standing
    manifest: Manifest | None
    held: tuple[tuple[Disk, SnapshotInfo], ...]
    missing: tuple[ManifestPart, ...] = ()
    extra: tuple[tuple[Disk, SnapshotInfo], ...] = ()
    below: tuple[tuple[ManifestPart, SnapshotInfo], ...] = ()
    findings: tuple[Problem, ...] = ()
    parent: str = ""
    current: bool = False


def holdings(
    manifests: Collection[Manifest],
    facts: Facts,
    lost_files: Collection[str] = (),
    *,
    below: Mapping[str, Image] | None = None,
    findings: Mapping[str, Sequence[Problem]] | None = None,
) -> tuple[Holding, ...]:
    """Merge, in order of tag.

    Args:
        manifests: Those of the VM.
        facts: The VM.
        lost_files: Files of external parts that are known not to be there.
        below: Every image that the VM has open, by file, and others that its snapshots were looked for
            in (not ``active``); None: what lies under an overlay is not known.
        findings: By tag, what `verify` finds.
    """
    recorded = {manifest.tag: manifest for manifest in manifests}
    held: dict[str, list[tuple[Disk, SnapshotInfo]]] = {}
    for disk in facts.disks:
        for snapshot in disk.snapshots:
            held.setdefault(snapshot.name, []).append((disk, snapshot))
    under = {layer.filename for disk in facts.disks for layer in disk.backing}
    images: dict[str, Image | None] = {
        file: image for file, image in (below or {}).items() if not image.active
    }
    images |= {file: _below(file, below) for file in under}
    found = []
    for tag in sorted({*recorded, *held}):
        here, manifest = tuple(held.get(tag, ())), recorded.get(tag)
        if manifest is None:
            found.append(Holding(tag, Standing.FOREIGN, None, here))
        else:
            wrong = tuple((findings or {}).get(tag, ()))
            found.append(_recorded(manifest, here, images, lost_files, wrong))
    return tuple(found)


def placed(
    holding: Holding, known: Collection[Ancestor], current: Sequence[Ancestor] = ()
) -> Holding:
    """The same with its place in the tree of snapshots.

    Args:
        holding: A snapshot.
        known: Every snapshot of its VM that is recorded; others are gone, and their children their
            parents' children.
        current: What the VM stands on: a snapshot, then its ancestors.
    """
    if holding.manifest is None:
        return holding
    parent = nearest(holding.manifest.ancestors, known)
    return evolve(holding, parent=parent, current=nearest(current, known) == holding.tag)


def _below(file: str, below: Mapping[str, Image] | None) -> Image | None:
    return None if below is None else below.get(file)


def _recorded(
    manifest: Manifest,
    held: tuple[tuple[Disk, SnapshotInfo], ...],
    images: Mapping[str, Image | None],
    lost_files: Collection[str],
    findings: tuple[Problem, ...],
) -> Holding:
    under = tuple(_parts_below(manifest, images))
    there = {_mark(*each) for each in held} | {part.mark for part, _ in under if part.mark}
    unseen = {file for file, image in images.items() if image is None}
    lost = {each.subject for each in findings if each.code in _LOST}
    missing = tuple(
        part
        for part in manifest.parts
        if part.is_missing(there, unseen, lost_files) or part.subject in lost
    )
    known = {part.mark for part in manifest.parts}
    extra = tuple(each for each in held if _mark(*each) not in known)
    standing = Standing.DIFFERS if findings else Standing.COMPLETE
    if missing:
        standing = Standing.INCOMPLETE
    return Holding(manifest.tag, standing, manifest, held, missing, extra, under, findings)


def _mark(disk: Disk, snapshot: SnapshotInfo) -> tuple[str, str, int]:
    return disk.filename, snapshot.id, snapshot.vm_clock_ns


def _parts_below(
    manifest: Manifest, images: Mapping[str, Image | None]
) -> Iterator[tuple[ManifestPart, SnapshotInfo]]:
    for part in manifest.parts:
        found = part.below(manifest.tag, images)
        if found is not None:
            yield part, found
