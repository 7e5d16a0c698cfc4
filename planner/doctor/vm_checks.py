"""What a VM's facts say of it: version, run state, settings left on, disks, what lies outside."""

from __future__ import annotations

from collections.abc import Iterator

from planner.compile.refusals import vm_problems
from planner.doctor.finding import Area, Finding, Standing, wrong
from planner.errors import Problem
from planner.model.facts import Disk, Facts, WriteTracking
from planner.model.outside import outside_of
from planner.parts.reach import needs_vm
from planner.program.settings import left_on, settings_for
from planner.semantics.versions import PROFILES

__all__ = ["vm_findings"]

_TRACKING = {
    WriteTracking.DENIED: "QEMU's user may not have memory write-protected: no `capture: background`",
    WriteTracking.LACKING: "the kernel cannot write-protect memory for QEMU: no `capture: background`",
}


def vm_findings(facts: Facts) -> Iterator[Finding]:
    """Everything that can be told by facts alone."""
    yield from _version(facts)
    yield from _state(facts)
    yield from _settings(facts)
    for disk in facts.disks:
        yield from _disk(disk)
    yield from _outside(facts)


def _version(facts: Facts) -> Iterator[Finding]:
    kind = "qemu-storage-daemon" if facts.is_daemon else "QEMU"
    said = f"{facts.qemu} {facts.qemu.package}".strip()
    known = ", ".join(PROFILES)
    if f"{facts.qemu.major}.{facts.qemu.minor}" in PROFILES:
        yield Finding(Area.VM, Standing.GOOD, kind, said)
        return
    yield Finding(
        Area.VM,
        Standing.NOTE,
        kind,
        f"{said}: it was tested with {known}",
        "qemu-untested",
        "`snapplan conformance --qemu BINARY` tries on it what snapplan knows about QEMU",
    )


def _state(facts: Facts) -> Iterator[Finding]:
    problems = tuple(vm_problems(facts, machine_state=not facts.is_daemon))
    yield from (wrong(Area.VM, each) for each in problems)
    if not facts.is_daemon:
        machine = f"{facts.machine}, {facts.target or 'target not known'}"
        yield Finding(Area.VM, Standing.GOOD, "machine", machine)
    if not any(each.code == "run-state-unsupported" for each in problems):
        yield Finding(Area.VM, Standing.GOOD, "run state", facts.run_state)
    if facts.migration_error:
        message = f"QEMU remembers a migration that failed: {facts.migration_error} (fact 65)"
        remedy = "nothing: a load clears it first"
        yield Finding(Area.VM, Standing.NOTE, "migration", message, "migration-error", remedy)
    words = _TRACKING.get(facts.write_tracking)
    if words and not facts.is_daemon:
        code = "write-tracking-impossible"
        yield Finding(Area.VM, Standing.NOTE, "background capture", words, code)


def _settings(facts: Facts) -> Iterator[Finding]:
    if facts.is_daemon:
        return
    if not facts.capabilities:
        message = "QEMU does not say how migration is set"
        yield Finding(Area.SETTINGS, Standing.NOTE, "migration", message, "capabilities-unknown")
        return
    found = tuple(left_on(settings_for(facts)))
    for each in found:
        remedy = "nothing for a snapshot; whoever set it may want it off"
        yield Finding(Area.SETTINGS, Standing.NOTE, "migration", each, "settings-on", remedy)
    if not found:
        yield Finding(
            Area.SETTINGS, Standing.GOOD, "migration", "nothing is set that a run would undo"
        )


def _disk(disk: Disk) -> Iterator[Finding]:
    where = disk.filename or "no file"
    layers = f" over {len(disk.backing)} more" if disk.backing else ""
    yield Finding(Area.DISKS, Standing.GOOD, disk.name, f"{disk.driver}, {where}{layers}")
    yield from (wrong(Area.DISKS, each, Standing.NOTE) for each in needs_vm(disk))
    if disk.io_error:
        why = f"the guest's last request to it failed ({disk.io_error})"
        yield wrong(Area.DISKS, Problem("request-kept", disk.name, why))
    for bitmap in disk.bitmaps:
        if bitmap.persistent:
            why = f"it has the persistent dirty bitmap {bitmap.name!r}, at which a load fails (fact 20)"
            remedy = "remove the bitmap before a load"
            yield Finding(Area.DISKS, Standing.NOTE, disk.name, why, "dirty-bitmap", remedy)


def _outside(facts: Facts) -> Iterator[Finding]:
    found = outside_of(facts)
    for each in found:
        why = f"{each.label}: {each.what}"
        remedy = f"write `{each.name}: exclude` under `disks`, or detach it" if each.stores else ""
        remedy = f"without machine state {remedy}" if each.in_machine_state else remedy
        yield Finding(Area.OUTSIDE, Standing.NOTE, each.name, why, "storage-outside", remedy)
    if not found:
        yield Finding(Area.OUTSIDE, Standing.GOOD, "devices", "nothing that is known to be outside")
