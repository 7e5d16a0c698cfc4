"""What a snapshot job checks before it does anything, in QEMU's order and words.

Rules: pure questions; the empty text means that nothing is wrong.  The order matters, because only
the first problem is ever told (facts 5 to 7, 21).
"""

from __future__ import annotations

from planner.semantics.block import can_snapshot, device_or_node_name, find_snapshot
from planner.semantics.quirks import Quirk
from planner.semantics.state import Job, VmState
from planner.semantics.vmstate_settings import job_refusal

__all__ = ["devices_problem", "load_problem", "save_problem"]


def save_problem(state: VmState, job: Job) -> str:
    """Why a save fails before it touches anything; empty if it does not."""
    if state.machine.blocked_reasons:
        return state.machine.blocked_reasons[0]
    refusal = job_refusal(state)
    if refusal:
        return refusal
    problem = devices_problem(state, job)
    if problem:
        return problem
    if _tag_clashes(state, job):
        return f"Snapshot '{job.tag}' already exists in one or more devices"
    return _vmstate_problem(job)


def _tag_clashes(state: VmState, job: Job) -> bool:
    held = [
        find_snapshot(state, state.graph.node(name), job.tag) is not None for name in job.devices
    ]
    if state.profile.has(Quirk.TAG_CHECK_NEEDS_ALL):
        return all(held)
    return any(held)


def devices_problem(state: VmState, job: Job) -> str:
    """What is wrong with a job's list of nodes (facts 5, 6)."""
    if not job.devices:
        return "At least one device is required for snapshot"
    for name in job.devices:
        if state.graph.get(name) is None:
            return f"No block device node '{name}'"
    for name in job.devices:
        node = state.graph.node(name)
        if not can_snapshot(state, node):
            shown = device_or_node_name(state, node)
            return f"Device '{shown}' is writable but does not support snapshots"
    return ""


def _vmstate_problem(job: Job) -> str:
    if job.vmstate not in job.devices:
        return f"vmstate block device '{job.vmstate}' does not exist"
    return ""


def load_problem(state: VmState, job: Job) -> str:
    """Why a load fails before it touches a disk; the guest is stopped by then (fact 18)."""
    problem = job_refusal(state) or devices_problem(state, job)
    if problem:
        return problem
    for name in job.devices:
        if find_snapshot(state, state.graph.node(name), job.tag) is None:
            return f"Snapshot '{job.tag}' does not exist in one or more devices"
    problem = _vmstate_problem(job)
    if problem:
        return problem
    found = find_snapshot(state, state.graph.node(job.vmstate), job.tag)
    if found is not None and found.vm_state_size_bytes == 0:
        return "This is a disk-only snapshot. Revert to it  offline using qemu-img"  # two blanks: QEMU's
    return ""
