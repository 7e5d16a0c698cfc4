"""What manifests record, against what the disks hold: one line of account for each snapshot.

A tag on a disk is no snapshot by itself: QEMU keeps no record of what belongs together.  With a manifest
each part is told by its file, id, tag and vm-clock (fact 15).  Without one a tag is *foreign*: somebody
else made it, or its record is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import StrEnum

from attrs import frozen

from planner.model.facts import Disk, Facts, Snapshot
from planner.model.manifest import Manifest, ManifestPart, PartKind

__all__ = ["Holding", "Standing", "holdings"]


class Standing(StrEnum):
    """What is to be said of a snapshot as a whole."""

    COMPLETE = "complete"
    """Recorded, and every part is there."""
    INCOMPLETE = "incomplete"
    """Recorded, and at least one part is not there."""
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
    """

    tag: str
    standing: Standing
    manifest: Manifest | None
    held: tuple[tuple[Disk, Snapshot], ...]
    missing: tuple[ManifestPart, ...] = ()
    extra: tuple[tuple[Disk, Snapshot], ...] = ()


def holdings(
    manifests: Collection[Manifest], facts: Facts, lost_files: Collection[str] = ()
) -> tuple[Holding, ...]:
    """Merge, in order of tag.

    Args:
        manifests: Those of the VM.
        facts: The VM.
        lost_files: Files of external parts that are known not to be there.
    """
    recorded = {manifest.tag: manifest for manifest in manifests}
    held = {snapshot.name for disk in facts.disks for snapshot in disk.snapshots}
    return tuple(
        _holding(tag, recorded.get(tag), facts, lost_files) for tag in sorted({*recorded, *held})
    )


def _holding(
    tag: str, manifest: Manifest | None, facts: Facts, lost_files: Collection[str]
) -> Holding:
    held = tuple((disk, snapshot) for disk in facts.disks for snapshot in disk.holding(tag))
    if manifest is None:
        return Holding(tag, Standing.FOREIGN, None, held)
    missing = tuple(_missing(manifest, held, lost_files))
    known = {(part.file, part.snapshot_id, part.vm_clock_ns) for part in manifest.parts}
    extra = tuple(each for each in held if _mark(*each) not in known)
    standing = Standing.INCOMPLETE if missing else Standing.COMPLETE
    return Holding(tag, standing, manifest, held, missing, extra)


def _mark(disk: Disk, snapshot: Snapshot) -> tuple[str, str, int]:
    return disk.filename, snapshot.id, snapshot.vm_clock_ns


def _missing(
    manifest: Manifest, held: tuple[tuple[Disk, Snapshot], ...], lost_files: Collection[str]
) -> Iterator[ManifestPart]:
    there = {_mark(*each) for each in held}
    for part in manifest.parts:
        if part.kind is PartKind.INTERNAL:
            if (part.file, part.snapshot_id, part.vm_clock_ns) not in there:
                yield part
        elif part.file in lost_files:
            yield part
