"""Why a disk or a VM cannot be snapshotted as asked: one small function per reason.

Each check answers with problems that have a stable code, the disk, and what to do about it.  QEMU
itself says most of these things late (after the command was accepted: fact 1), in misleading words
(facts 6 and 29), or not at all (facts 7, 10 and 20).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from planner.errors import Problem
from planner.model.facts import Disk, Facts
from planner.model.node_names import LIBVIRT_JOB
from planner.model.request import NoMachineState, Request, RunStateAfter, Unreadable
from planner.parts.image_limits import has_room, holds_machine_state
from planner.parts.reverted_disk import can_be_internal

__all__ = [
    "RUN_STATES",
    "can_be_internal",
    "can_be_written",
    "daemon_problems",
    "cost_of_leaving_out",
    "disk_problems",
    "has_room",
    "holds_machine_state",
    "libvirt_problems",
    "vm_problems",
]

RUN_STATES = ("running", "paused")
WAYS_OUT = {
    "suspended": "wake the guest with `system_wakeup`",
    "shutdown": "the guest has ended: load a snapshot, or send `system_reset` and `cont`",
    "guest-panicked": "the guest has crashed: load a snapshot, or send `system_reset` and `cont`",
    "internal-error": "send `system_reset` (it ends a QEMU that was started with -no-reboot), which "
    "leaves `prelaunch`; from there a snapshot can be loaded, or the guest started with `cont`",
    "io-error": "see to the storage (is its file system full?), then send `cont`",
    "prelaunch": "the guest has not been started: send `cont`",
    "restore-vm": "a load has stopped the guest: send `cont` if it succeeded, else load again",
}
"""What leads out of each other run state (fact 77)."""
"""The run states from which real QEMU has been shown to do right."""

_FINISHED_MIGRATION = ("", "none", "completed", "failed", "cancelled")
_SNAPSHOT_JOBS = ("snapshot-save", "snapshot-load", "snapshot-delete")
_SHOWN = 8
_ENDED_JOB = ("concluded", "null")


def can_be_written(disk: Disk) -> bool:
    """Whether the guest can write to a disk: to leave it out of a snapshot has a price."""
    return disk.attached and not disk.read_only


def cost_of_leaving_out(disks: Iterable[Disk]) -> Iterator[str]:
    """What a load finds of disks that a snapshot leaves out; nothing where nobody can write to them."""
    names = sorted(disk.name for disk in disks if can_be_written(disk))
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield (
            f"left out although the guest can write to it: {', '.join(names[:_SHOWN])}{more}; a load "
            "does not take it back, and once it was written to, the guest that is loaded finds there "
            "what it does not know of: file systems on it may break"
        )


def disk_problems(disk: Disk) -> Iterator[Problem]:
    """Why a disk cannot be part of any snapshot now; nothing where it can."""
    for user in disk.users:
        yield Problem(
            "disk-busy",
            disk.name,
            f"block job {user!r} uses it; a transaction is refused meanwhile (fact 28)",
            "wait for the job, or cancel it",
        )


def vm_problems(facts: Facts, *, machine_state: bool) -> Iterator[Problem]:
    """Why the VM as a whole cannot be snapshotted now; nothing where it can."""
    if facts.run_state not in RUN_STATES:
        yield Problem(
            "run-state-unsupported",
            "vm",
            f"its run state is {facts.run_state!r}; only running and paused are known to be right",
            WAYS_OUT.get(facts.run_state, "bring it to running or paused"),
        )
    if facts.migration not in _FINISHED_MIGRATION:
        yield Problem(
            "migration-active",
            "vm",
            f"a migration is {facts.migration!r}, and snapshot-save is refused meanwhile (fact 34)",
            "wait for it, or cancel it",
        )
    for job in facts.jobs:
        if job.type in _SNAPSHOT_JOBS and job.status not in _ENDED_JOB:
            yield Problem(
                "snapshot-job-active",
                "vm",
                f"job {job.id!r} ({job.type}) is {job.status}",
                "wait for it",
            )
    if any(job.type == LIBVIRT_JOB for job in facts.jobs):
        words = "libvirt runs a job on the domain: a save, a migration, a backup"
        remedy = "wait until `virsh domjobinfo` shows none"
        yield Problem("libvirt-job-active", "vm", words, remedy)
    if machine_state:
        for reason in facts.blocked_reasons:
            yield Problem(
                "migration-blocked",
                "vm",
                f"its machine state cannot be saved: {reason} (fact 33)",
                _unblocking(facts),
            )


def libvirt_problems(request: Request, facts: Facts) -> Iterator[Problem]:
    """Where the VM was reached through libvirt: a snapshot of its own of this name."""
    if request.tag in facts.taken_tags:
        words = f"libvirt keeps a snapshot {request.tag!r}, and each would be taken for the other"
        yield Problem("tag-taken-by-libvirt", request.tag, words, "choose another tag")


def daemon_problems(request: Request, facts: Facts) -> Iterator[Problem]:
    """What a storage daemon cannot be asked for: it has disks, and no guest (fact 120)."""
    if not facts.is_daemon:
        return
    if not isinstance(request.machine_state, NoMachineState | Unreadable):
        yield Problem(
            "no-machine",
            "machine-state",
            "this is a storage daemon: it has disks, and no machine whose state could be saved",
            "ask for `machine-state: none`; the machine is in the QEMU that uses these disks",
        )
    if request.run_state_after is not RunStateAfter.AS_BEFORE:
        yield Problem(
            "no-machine",
            "run-state-after",
            "this is a storage daemon: it has no guest that could be paused or continued",
            "leave it out, or say `as-before`",
        )


def _unblocking(facts: Facts) -> str:
    mode = facts.parameters.get("mode")
    if mode is not None:  # what blocks depends on it
        return f"set the migration parameter mode, which is {mode!r}, to 'normal', and plan again"
    return "remove the device, or ask for `machine-state: none`"
