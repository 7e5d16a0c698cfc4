"""A snapshot as a tree and a page show it: recorded alone, or compared with the disks of its VM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from planner.parts.holdings import Holding
from planner.parts.manifest import Manifest
from planner.present.dates import date_text
from planner.present.words import bytes_text
from planner.store.naming import StoredSnapshots

__all__ = ["RECORDED", "ShownPart", "ShownSnapshot", "forest", "shown_holding", "shown_stored"]

RECORDED = "recorded"
"""The standing of what was compared with no disk."""


@frozen
class ShownPart:
    """One part.

    Attributes:
        kind: Its kind, in the word of manifests.
        disk: Its disk; empty: none.
        file: The file that it is in, or is.
        state_bytes: Machine state in it, in bytes.
        note: What else is to be said of it; empty: nothing.
    """

    kind: str
    disk: str
    file: str
    state_bytes: int = 0
    note: str = ""


@frozen
class ShownSnapshot:
    """One snapshot.

    Attributes:
        tag: Its name.
        standing: How it stands, in a word.
        parent: The tag of the one that it was taken after; empty: none that is still there.
        current: Whether the VM stands on it.
        taken: When, as a date; empty: nobody says.
        marks: What else a word says of it: ``template``, its group.
        description: What its user says of it.
        parts: Its parts.
        findings: What `verify` finds, in sentences.
    """

    tag: str
    standing: str
    parent: str = ""
    current: bool = False
    taken: str = ""
    marks: tuple[str, ...] = ()
    description: str = ""
    parts: tuple[ShownPart, ...] = ()
    findings: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """How much machine state it has, in words."""
        total = sum(part.state_bytes for part in self.parts)
        return f"{bytes_text(total)} machine state" if total else "disks only"


def shown_stored(stored: StoredSnapshots) -> tuple[ShownSnapshot, ...]:
    """What the store alone says of a VM's snapshots."""
    return tuple(
        ShownSnapshot(
            manifest.tag,
            RECORDED,
            stored.parent_of(manifest),
            manifest.tag == stored.current_tag,
            date_text(manifest.ended_ns),
            tuple(_marks(manifest)),
            manifest.description,
            tuple(_parts(manifest)),
        )
        for manifest in stored.manifests
    )


def shown_holding(holding: Holding) -> ShownSnapshot:
    """A snapshot as it stands on the disks of its VM."""
    manifest = holding.manifest
    if manifest is None:
        parts = tuple(
            ShownPart(
                "internal", disk.name, disk.filename, info.vm_state_size_bytes, f"id {info.id}"
            )
            for disk, info in holding.held
        )
        taken = max((info.date_ns for _, info in holding.held), default=0)
        return ShownSnapshot(
            holding.tag, holding.standing.value, taken=date_text(taken), parts=parts
        )
    missing = {(part.kind, part.disk, part.file) for part in holding.missing}
    return ShownSnapshot(
        holding.tag,
        holding.standing.value,
        holding.parent,
        holding.current,
        date_text(manifest.ended_ns),
        tuple(_marks(manifest)),
        manifest.description,
        tuple(_parts(manifest, missing)),
        tuple(str(finding) for finding in holding.findings),
    )


def _marks(manifest: Manifest) -> Iterator[str]:
    if manifest.template is not None:
        yield "template"
    if manifest.group is not None:
        yield f"group {manifest.group.group}"


def _parts(
    manifest: Manifest,
    missing: set[tuple[str, str, str]] | frozenset[tuple[str, str, str]] = frozenset(),
) -> Iterator[ShownPart]:
    for part in manifest.parts:
        note = "missing" if (part.kind, part.disk, part.file) in missing else ""
        note = note or (f"id {part.plain_id}" if part.plain_id else "")
        yield ShownPart(part.kind, part.disk, part.file, part.state_bytes, note)


def forest(snapshots: Sequence[ShownSnapshot]) -> list[tuple[int, ShownSnapshot]]:
    """Snapshots with their depth, each after its parent, siblings by date and tag; each exactly once.

    Manifests are files that anybody may have written: where parents go in a circle, it is cut.
    """
    children: dict[str, list[ShownSnapshot]] = {}
    known = {each.tag for each in snapshots}
    for each in sorted(snapshots, key=lambda one: (one.taken, one.tag)):
        parent = each.parent if each.parent in known - {each.tag} else ""
        children.setdefault(parent, []).append(each)
    found: dict[str, tuple[int, ShownSnapshot]] = {}
    roots = children.get("", [])
    for start in (*roots, *sorted(snapshots, key=lambda one: (one.taken, one.tag))):
        todo = [(0, start)]
        while todo:
            depth, each = todo.pop()
            if each.tag not in found:
                found[each.tag] = (depth, each)
                todo += [(depth + 1, child) for child in reversed(children.get(each.tag, []))]
    return list(found.values())
