"""Snapshots as manifests record them and disks hold them, for a person and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.errors import Problem
from planner.model.facts import Disk, SnapshotInfo
from planner.parts.holdings import Holding
from planner.parts.part import ManifestPart
from planner.present.dates import date_text
from planner.present.outputs import decimal, output
from planner.present.tables import table
from planner.present.visible import as_lines
from planner.present.words import bytes_text, clock_text, problem_to_plain

__all__ = ["holdings_text", "holdings_to_plain"]


def holdings_text(
    holdings: Sequence[Holding], problems: Sequence[Problem] = (), unchecked: Sequence[str] = ()
) -> str:
    """One block a tag; damaged manifests, and what could not be looked at, at the end."""
    lines = [line for holding in holdings for line in _lines(holding)]
    lines += [f"not read: {problem}" for problem in problems]
    lines += [f"not checked: {what}" for what in unchecked] if lines else []
    return as_lines(lines) or "no snapshots"


def _lines(holding: Holding) -> Iterator[str]:
    yield f"{holding.tag}  ({_words(holding)})"
    yield from _said(holding)
    rows = [("DISK", "ID", "VM CLOCK", "MACHINE STATE", "")]
    rows += [_row(holding, *each) for each in holding.held]
    rows += [_under(*each) for each in holding.below]
    rows += [_external(part) for part in _external_parts(holding)]
    rows += [
        (
            part.disk,
            part.plain_id,
            clock_text(part.instant_ns or 0),
            "",
            f"missing from {part.file}",
        )
        for part in holding.missing
        if not part.external
    ]
    yield table(rows, "  ")
    yield from (f"  - {finding}" for finding in holding.findings)


def _said(holding: Holding) -> Iterator[str]:
    """What its user says of it, a line each."""
    text = "" if holding.manifest is None else holding.manifest.description
    yield from (f"  {line}" for line in text.splitlines())


def _words(holding: Holding) -> str:
    words = [holding.standing.value]
    words += [f"{len(holding.missing)} missing"] if holding.missing else []
    words += [f"{len(holding.extra)} extra"] if holding.extra else []
    words.append(_instants(holding))
    words += filter(None, [date_text(_taken_ns(holding))])
    words += [f"after {holding.parent!r}"] if holding.parent else []
    words += ["template"] if _has_template(holding) else []
    words += ["current"] if holding.current else []
    return ", ".join(words)


def _has_template(holding: Holding) -> bool:
    """Whether it is ready for instant restore."""
    return holding.manifest is not None and holding.manifest.template is not None


def _taken_ns(holding: Holding) -> int:
    """When it was taken, by the host's clock; 0: nobody says."""
    if holding.manifest is not None and holding.manifest.ended_ns:
        return holding.manifest.ended_ns
    return max((snapshot.date_ns for _, snapshot in holding.held), default=0)


def _instants(holding: Holding) -> str:
    """What the disks alone show."""
    held = [(disk.name, snapshot) for disk, snapshot in holding.held]
    held += [(part.disk, snapshot) for part, snapshot in holding.below]
    disks = [disk for disk, _ in held]
    holders = [disk for disk, snapshot in held if snapshot.vm_state_size_bytes]
    if len(set(disks)) != len(disks):
        return "several of that tag on one disk"
    if len(holders) > 1:
        return "machine state on several disks"
    outside = any(part.holds_state for part in _external_parts(holding))
    if not holders and not outside:
        return "disks only"
    one = len({snapshot.vm_clock_ns for _, snapshot in held}) <= 1
    return "one instant" if one else "parts of different instants"


def _external_parts(holding: Holding) -> list[ManifestPart]:
    parts = () if holding.manifest is None else holding.manifest.parts
    return [part for part in parts if part.external]


def _row(holding: Holding, disk: Disk, snapshot: SnapshotInfo) -> tuple[str, str, str, str, str]:
    size = snapshot.vm_state_size_bytes
    extra = "extra" if (disk, snapshot) in holding.extra else ""
    state = bytes_text(size) if size else "-"
    return disk.name, snapshot.id, clock_text(snapshot.vm_clock_ns), state, extra


def _under(part: ManifestPart, snapshot: SnapshotInfo) -> tuple[str, str, str, str, str]:
    size = snapshot.vm_state_size_bytes
    state = bytes_text(size) if size else "-"
    where = f"in {part.file}, which the guest does not write to"
    return part.disk, snapshot.id, clock_text(snapshot.vm_clock_ns), state, where


def _external(part: ManifestPart) -> tuple[str, str, str, str, str]:
    size = bytes_text(part.state_bytes) if part.state_bytes else "-"
    clock = "-" if part.instant_ns is None else clock_text(part.instant_ns)
    return part.disk or "-", part.plain_id or "-", clock, size, part.words


def holdings_to_plain(
    holdings: Sequence[Holding], problems: Sequence[Problem] = (), unchecked: Sequence[str] = ()
) -> dict[str, object]:
    """What `holdings_text` says, as plain values."""
    return output(
        "list",
        {
            "snapshots": [_plain(holding) for holding in holdings],
            "problems": [problem_to_plain(problem) for problem in problems],
            "unchecked": list(unchecked),
        },
    )


def _plain(holding: Holding) -> dict[str, object]:
    return {
        "tag": holding.tag,
        "standing": holding.standing.value,
        "description": "" if holding.manifest is None else holding.manifest.description,
        "parent": holding.parent or None,
        "current": holding.current,
        "template": _has_template(holding),
        "finding": _instants(holding),
        "taken-ns": decimal(_taken_ns(holding)),
        "parts": [
            *(
                _part(disk.name, disk.filename, snapshot, extra=(disk, snapshot) in holding.extra)
                for disk, snapshot in holding.held
            ),
            *(
                _part(part.disk, part.file, snapshot, extra=False)
                for part, snapshot in holding.below
            ),
        ],
        "external": [
            {"kind": part.kind, "disk": part.disk, "file": part.file}
            for part in _external_parts(holding)
        ],
        "missing": [
            {"kind": p.kind, "disk": p.disk, "file": p.file, "id": p.plain_id}
            for p in holding.missing
        ],
        "findings": [problem_to_plain(finding) for finding in holding.findings],
    }


def _part(disk: str, file: str, snapshot: SnapshotInfo, *, extra: bool) -> dict[str, object]:
    return {
        "disk": disk,
        "file": file,
        "id": snapshot.id,
        "vm-clock-ns": decimal(snapshot.vm_clock_ns),
        "vm-state-size": decimal(snapshot.vm_state_size_bytes),
        "date-ns": decimal(snapshot.date_ns),
        "extra": extra,
    }
