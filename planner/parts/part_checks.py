"""Whether a snapshot is still what its manifest says: one small function per kind of finding.

QEMU keeps no record of what belongs together: it takes any snapshot of the right tag for a part
(fact 19).  What tells a part from all others, each kind of part knows; here is what concerns the
snapshot as a whole.  Pure: the same values come from a running VM and from image files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from planner.errors import Problem
from planner.model.facts import Facts, SnapshotInfo
from planner.parts.internal import InternalSnapshot
from planner.parts.machine_checks import device_problems, hardware_problems
from planner.parts.manifest import Manifest
from planner.parts.part import Seen

__all__ = ["manifest_problems", "part_problems", "vm_problems"]

_NS_PER_S = 1e9


def manifest_problems(manifest: Manifest) -> Iterator[Problem]:
    """What is wrong with a manifest in itself: somebody has edited it, or put two together."""
    counts = Counter(part.disk for part in manifest.parts if part.disk)
    for disk in sorted(disk for disk, count in counts.items() if count > 1):
        yield Problem("manifest-inconsistent", disk, "the manifest has two parts of this disk")
    if not manifest.parts:
        yield Problem("manifest-inconsistent", manifest.tag, "the manifest has no parts")
    holders = [part for part in manifest.parts if part.holds_state]
    if len(holders) > 1:
        yield Problem(
            "manifest-inconsistent", manifest.tag, "the manifest has the machine state twice"
        )
    clocks = {part.instant_ns for part in manifest.parts} - {None}
    if holders and len(clocks) > 1:
        yield Problem(
            "parts-differ",
            manifest.tag,
            "the recorded parts are of different instants (vm-clock, fact 15)",
            "the snapshot cannot be loaded as one; delete it",
        )


def part_problems(manifest: Manifest, seen: Seen) -> Iterator[Problem]:
    """What speaks against the parts' being what was saved, as far as it was looked at."""
    for part in manifest.parts:
        yield from part.problems(manifest.tag, seen)


def vm_problems(manifest: Manifest, facts: Facts) -> Iterator[Problem]:
    """The VM around the parts: the machine, its devices, and disks that should or should not be."""
    yield from _machine_problems(manifest, facts)
    yield from device_problems(manifest, facts)
    yield from hardware_problems(manifest, facts)
    yield from _other_disks(manifest, facts)


def _memory(manifest: Manifest, facts: Facts) -> tuple[str, str]:
    """The guest's memory then and now, in words; empty where it is not known, or no part."""
    if manifest.vmstate is None or not (manifest.memory_bytes and facts.memory_bytes):
        return "", ""
    return f"{manifest.memory_bytes} bytes", f"{facts.memory_bytes} bytes"


def _machine_problems(manifest: Manifest, facts: Facts) -> Iterator[Problem]:
    vm = facts.vm_uuid or facts.vm_name
    pairs = (
        ("machine-differs", "machine type", manifest.machine, facts.machine),
        ("machine-differs", "guest architecture", manifest.target, facts.target),
        ("machine-differs", "guest memory", *_memory(manifest, facts)),
        ("vm-differs", "VM's UUID or name", manifest.vm, vm),
    )
    for code, what, was, now in pairs:
        if was != now:
            message = f"the {what} was {was or 'none'!r} and is {now or 'none'!r}"
            yield Problem(code, "vm", message, "start the VM as it was when it was saved")
    made, here = manifest.qemu, facts.qemu
    if manifest.vmstate is not None and (here.major, here.minor) < (made.major, made.minor):
        yield Problem(
            "qemu-older",
            "vm",
            f"QEMU {made} made it and this is QEMU {here}: an older QEMU need not know a newer one's "
            "machine state",
            f"use QEMU {made.major}.{made.minor} or newer",
        )


def _other_disks(manifest: Manifest, facts: Facts) -> Iterator[Problem]:
    parts = {part.disk for part in manifest.parts if part.disk}
    for disk in facts.disks:
        if disk.name in parts:
            continue
        held = disk.holding(manifest.tag)
        own = next((part for part in manifest.of(InternalSnapshot) if part.is_among(held)), None)
        if own is not None:
            yield Problem(
                "part-crept-in",
                disk.name,
                f"it holds the part that was recorded of {own.disk} (id {own.snapshot_id}, tag and "
                f"vm-clock), in {disk.filename}; it was in {own.file}",
                f"it is this snapshot's own, or a copy of it: keep it. If the image was moved, say so: "
                f"--moved {own.file}={disk.filename}; else start the VM on the image that was saved",
            )
        elif held:
            yield Problem(
                "part-crept-in",
                disk.name,
                f"it holds a snapshot {manifest.tag!r} (id {held[0].id}) and is no part of this one",
                f"delete it by id and name, or keep it under another tag (vm-clock {_held(held)})",
            )
        elif disk.attached and not disk.read_only and disk.name not in manifest.excluded:
            yield Problem(
                "disk-not-in-snapshot",
                disk.name,
                "this writable disk was not there when the snapshot was made: it would stay as it is "
                "now (fact 19)",
                "detach it first",
            )


def _held(held: tuple[SnapshotInfo, ...]) -> str:
    return f"{held[0].vm_clock_ns / _NS_PER_S:.9f} s"
