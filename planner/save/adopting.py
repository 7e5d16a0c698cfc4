"""A manifest of a snapshot that somebody else made: with qemu-img, savevm, libvirt or another tool.

What can be checked is: every writable disk holds exactly one snapshot of the tag, at most one holds
machine state, and all are of one instant by their vm-clock (fact 15).  What nobody wrote down cannot be:
the machine then, and what a disk held that is no part.  That is recorded as such, and said by `verify`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from attrs import frozen

from planner.errors import BadInput, Problem, Refused, in_order
from planner.model.facts import Disk, Facts, SnapshotInfo
from planner.model.outside import outside_of
from planner.model.tag import tag_problems
from planner.parts.make_internal import ShownSnapshot
from planner.parts.manifest import Manifest

__all__ = ["ADOPTED", "adopted_manifest"]

ADOPTED = "adopted"
"""What stands for the design in such a manifest: none made it."""

_NS_PER_S = 1e9


@frozen
class _Held:
    disk: Disk
    snapshot: SnapshotInfo


def adopted_manifest(
    tag: str, facts: Facts, *, address: str, exclude: Collection[str] = ()
) -> Manifest:
    """Make the manifest; the VM was asked questions only.

    Args:
        tag: What the snapshot is called on the disks.
        facts: The VM now.
        address: Where its socket is.
        exclude: Writable disks that are no part of it, by any of their names.

    Raises:
        BadInput: No disk holds a snapshot of this tag (``snapshot-unknown``), or a name means no disk.
        Refused: It is no snapshot of one instant, or QEMU could not load it by its tag.
    """
    left_out = _left_out(exclude, facts)
    writable = [disk for disk in facts.disks if disk.attached and not disk.read_only]
    disks = [disk for disk in writable if disk.name not in left_out]
    if not any(disk.holding(tag) for disk in disks):
        problem = Problem("snapshot-unknown", tag, "no writable disk holds a snapshot of this tag")
        raise BadInput.of(problem)
    problems = [*_tag_problems(tag), *(each for disk in disks for each in _holding(disk, tag))]
    held = [_Held(disk, disk.holding(tag)[0]) for disk in disks if disk.holding(tag)]
    problems += _instant_problems(tag, held, clocked=not facts.is_daemon)
    if problems:
        message = f"snapshot {tag!r} cannot be adopted"
        raise Refused(message, problems=in_order(problems), code="adopt-refused")
    by_name = {disk.name: disk for disk in facts.disks}
    shown = [ShownSnapshot(h.disk.name, h.disk.node, h.disk.filename, h.snapshot) for h in held]
    dates = [each.snapshot.date_ns for each in held]
    return Manifest(
        tag=tag,
        design=ADOPTED,
        program_digest="",
        qemu=facts.qemu,
        machine=facts.machine,
        memory_bytes=facts.memory_bytes,
        hardware=facts.hardware,
        added=facts.devices if facts.hardware is not None else (),
        parts=tuple(sorted(each.recorded(by_name) for each in shown)),
        target=facts.target,
        vm=facts.vm_uuid or facts.vm_name,
        address=address,
        devices=tuple(sorted((disk.name, disk.qdev) for disk in facts.disks if disk.qdev)),
        started_ns=min(dates),
        ended_ns=max(dates),
        excluded=tuple(sorted(left_out)),
        outside=tuple((each.name, each.type) for each in outside_of(facts) if each.stores),
        unproved=tuple(_unproved(held, left_out, clocked=not facts.is_daemon)),
    )


def _left_out(exclude: Collection[str], facts: Facts) -> set[str]:
    """The canonical names of the disks that somebody leaves out.

    Raises:
        BadInput: A name means no disk, or several.
    """
    known = facts.by_name()
    problems = [
        Problem(
            "disk-unknown",
            name,
            "no disk is called so",
            f"choose one of: {', '.join(sorted(known))}",
        )
        for name in exclude
        if name not in known
    ]
    problems += [
        Problem("disk-ambiguous", name, "several disks are called so", "use another of its names")
        for name in exclude
        if len(known.get(name, ())) > 1
    ]
    if problems:
        raise BadInput(problems[0].words, problems=in_order(problems), code=problems[0].code)
    return {known[name][0].name for name in exclude}


def _tag_problems(tag: str) -> Iterator[Problem]:
    """QEMU would not find it again by its tag, and has no way to give it another one."""
    remedy = "load it in QEMU's monitor (`loadvm`), and save it under another tag with snapplan"
    for problem in tag_problems(tag):
        yield Problem(problem.code, problem.subject, problem.message, remedy)


def _holding(disk: Disk, tag: str) -> Iterator[Problem]:
    held = disk.holding(tag)
    if not held:
        yield Problem(
            "part-missing",
            disk.name,
            f"the guest can write to it, and it holds no snapshot {tag!r}",
            f"--exclude {disk.name} leaves it out: a load then leaves it as it is",
        )
    elif len(held) > 1:
        ids = ", ".join(snapshot.id for snapshot in held)
        yield Problem(
            "part-twice",
            disk.name,
            f"it holds {len(held)} snapshots {tag!r} (ids {ids}), and QEMU takes the first (fact 22)",
            "delete by id and name those that do not belong to it",
        )


def _instant_problems(tag: str, held: Sequence[_Held], *, clocked: bool) -> Iterator[Problem]:
    """What speaks against one instant; a storage daemon's vm-clock says nothing of it (fact 122)."""
    holders = [each.disk.name for each in held if each.snapshot.vm_state_size_bytes]
    if len(holders) > 1:
        words = (
            f"machine state is on several disks ({', '.join(holders)}): these are several snapshots"
        )
        yield Problem("vmstate-misplaced", tag, words)
    if clocked and len({each.snapshot.vm_clock_ns for each in held}) > 1:
        words = f"its parts are of different instants (vm-clock, fact 15): {_clocks(held)}"
        yield Problem("parts-differ", tag, words, "it cannot be loaded as one snapshot")
    elif holders and not _clock(held) and len({each.snapshot.date_ns for each in held}) > 1:
        words = "its parts were made at different times, each before its guest had run"
        yield Problem("parts-differ", tag, words, "it cannot be loaded as one snapshot")


def _clock(held: Sequence[_Held]) -> int:
    return held[0].snapshot.vm_clock_ns


def _clocks(held: Sequence[_Held]) -> str:
    shown = (f"{h.disk.name} {h.snapshot.vm_clock_ns / _NS_PER_S:.9f} s" for h in held)
    return ", ".join(shown)


def _unproved(held: Sequence[_Held], left_out: Collection[str], *, clocked: bool) -> Iterator[str]:
    """What no check can show, in clauses."""
    if clocked:
        yield "the machine and its devices: they are recorded as they were when it was adopted"
    dates = [each.snapshot.date_ns for each in held]
    if len(held) > 1 and not (clocked and _clock(held)):
        why = (
            "the vm-clock is 0 on all disks, since no guest had run"
            if clocked
            else "a storage daemon's vm-clock is the wall clock"
        )
        took_s = (max(dates) - min(dates)) / _NS_PER_S
        yield f"one instant: {why}; their snapshots were made within {took_s:.3f} s"
    for name in sorted(left_out):
        yield f"what {name} held then: it is no part, and nobody wrote it down"
