"""Finds what no snapshot needs any more, and what no record explains.  Touches nothing.

What is provably snapplan's and of no use can be taken away: a manifest none of whose parts is left, the
snapshots of a measurement that died, temporary files.  What only may be snapplan's is shown and left
alone: QEMU's snapshots, streams and overlays do not say who made them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum

from attrs import frozen

from planner.model.facts import Disk, Facts
from planner.model.image import Image
from planner.parts.manifest import Manifest

__all__ = ["MEASURING_PREFIX", "TEMPORARY_SUFFIXES", "Orphan", "OrphanKind", "find_orphans"]

MEASURING_PREFIX = "snapplan-compare-"
"""Tags of snapshots that `compare --measure` makes and takes away again."""

TEMPORARY_SUFFIXES = (".snapplan", ".tmp")
"""How the names of files end that are still being written; they begin with a dot."""


class OrphanKind(StrEnum):
    """What kind of thing has no owner."""

    MANIFEST_EMPTY = "manifest-empty"
    """None of its parts is left."""
    MANIFEST_INCOMPLETE = "manifest-incomplete"
    """Some of its parts are gone: `delete` takes the rest away."""
    MANIFEST_UNREACHABLE = "manifest-unreachable"
    """Where its parts should be cannot be looked at: a file system is not mounted, or its files are gone
    with all that was beside them; `delete --forget` is for the second."""
    SNAPSHOT_MEASURED = "snapshot-measured"
    """A measurement's, which died before it took it away."""
    SNAPSHOT_UNRECORDED = "snapshot-unrecorded"
    """No manifest has it: somebody else's, or one whose manifest is lost."""
    RESTORE_EMPTY = "restore-empty"
    """A record of a restore: its QEMU has ended, and none of its files is left."""
    RESTORE_ENDED = "restore-ended"
    """A restore whose QEMU has ended: its files hold what the guest wrote."""
    RESTORE_UNFINISHED = "restore-unfinished"
    """A restore that was being made when a snapplan died: no guest has run on its files."""
    RESTORE_THROWN_AWAY = "restore-thrown-away"
    """A clone whose program has ended, or a spare that no load would take."""
    RESTORE_SET_ASIDE = "restore-set-aside"
    """What was a VM's disk before it went back, and a restore was promoted."""
    TEMPLATE_UNFINISHED = "template-unfinished"
    """A template that was being made, or removed, when a snapplan died."""
    FILE_TEMPORARY = "file-temporary"
    """A file that was being written when a snapplan died."""
    FILE_UNRECORDED = "file-unrecorded"
    """A stream or an overlay beside the VM's images that no manifest has and no disk uses."""


@frozen(order=True)
class Orphan:
    """One find.

    Attributes:
        kind: What it is.
        subject: The tag, the disk or the file.
        message: In a sentence.
        removable: Whether it is provably snapplan's and of no use.
        snapshot_id: Of a snapshot: its id.
        tag: Of a snapshot or a manifest: its tag.
    """

    kind: OrphanKind
    subject: str
    message: str
    removable: bool
    snapshot_id: str = ""
    tag: str = ""


def find_orphans(
    manifests: Sequence[Manifest],
    images: Mapping[str, Mapping[str, Image]],
    there: Mapping[str, bool | None],
    facts: Facts | None = None,
) -> tuple[Orphan, ...]:
    """Compare what is recorded with what is there.

    Args:
        manifests: All of one VM.
        images: By disk, its images by file, where they could be looked at.
        there: Of each file of a manifest, whether it is there; None: nobody can tell.  Files that cannot
            be seen are missing.
        facts: The VM, where it was asked.
    """
    found = [orphan for each in manifests for orphan in _of_manifest(each, images, there)]
    recorded = {
        (part.file, part.plain_id, manifest.tag)
        for manifest in manifests
        for part in manifest.parts
    }
    for disk in () if facts is None else facts.disks:
        found += _of_disk(disk, recorded)
    return tuple(sorted(found))


def _of_manifest(
    manifest: Manifest,
    images: Mapping[str, Mapping[str, Image]],
    there: Mapping[str, bool | None],
) -> Iterator[Orphan]:
    if manifest.is_elsewhere:
        there = {}
    states = [part.is_there(manifest.tag, images, there) for part in manifest.parts]
    unseen = sorted({file for file in manifest.files if file in there and there[file] is None})
    if None in states and unseen:
        message = (
            f"{', '.join(unseen)} cannot be looked for: a file system may not be mounted; if the files "
            "are gone for good, `snapplan delete --forget` takes the record away"
        )
        kind = OrphanKind.MANIFEST_UNREACHABLE
        yield Orphan(kind, manifest.tag, message, removable=False, tag=manifest.tag)
    if None in states or all(states):
        return  # whole, or not to be told
    missing = [
        p.subject for p, is_there in zip(manifest.parts, states, strict=True) if not is_there
    ]
    if not any(states):
        message = f"no part of snapshot {manifest.tag!r} is left"
        kind = OrphanKind.MANIFEST_EMPTY
        yield Orphan(kind, manifest.tag, message, removable=True, tag=manifest.tag)
        return
    message = f"of snapshot {manifest.tag!r} the parts of {', '.join(missing)} are gone"
    kind = OrphanKind.MANIFEST_INCOMPLETE
    yield Orphan(kind, manifest.tag, message, removable=False, tag=manifest.tag)


def _of_disk(disk: Disk, recorded: Collection[tuple[str, str, str]]) -> Iterator[Orphan]:
    for snapshot in disk.snapshots:
        if (disk.filename, snapshot.id, snapshot.name) in recorded:
            continue
        measured = snapshot.name.startswith(MEASURING_PREFIX)
        kind = OrphanKind.SNAPSHOT_MEASURED if measured else OrphanKind.SNAPSHOT_UNRECORDED
        message = f"snapshot {snapshot.id} {snapshot.name!r} is in no manifest"
        message += "" if measured else "; `snapplan adopt` makes one"
        ident = {"snapshot_id": snapshot.id, "tag": snapshot.name}
        yield Orphan(kind, disk.name, message, removable=measured, **ident)
