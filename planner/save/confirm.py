"""Whether the VM itself shows the whole snapshot: every part, once, of one instant, and no other."""

from __future__ import annotations

from planner.model.facts import Disk, SnapshotInfo
from planner.model.replies import Replies, disks_of
from planner.program.program import Program
from planner.program.resolution import Overlay
from planner.run.actions import Flow, Send
from planner.run.observation import Observation
from planner.run.outcome import FrozenPart, Part
from planner.run.run_context import RunContext

__all__ = ["confirm", "confirm_overlays", "disks_as_shown"]


def confirm(program: Program, look: Observation, context: RunContext) -> tuple[Part, ...]:
    """Check the VM after the last step.

    Returns:
        The parts, as the VM shows them.

    Raises:
        StepFailed: Something is missing, twice, of another instant, or beside what was asked for.
    """
    resolution, baseline = program.resolution, context.baseline
    fresh = look.fresh(baseline, resolution.tag)
    parts = []
    for wanted in resolution.internal:
        found = fresh[wanted.disk]
        if len(found) != 1:
            raise context.failed(
                "part-count",
                f"{wanted.disk} holds {len(found)} new snapshots {resolution.tag!r} instead of one",
            )
        filename = baseline.filenames[wanted.disk]
        parts.append(Part(wanted.disk, wanted.node, filename, found[0]))
    _check_instant(program, parts, context)
    _check_vmstate(program, parts, context)
    if look.run_state != resolution.run_state_after:
        raise context.failed(
            "run-state-unexpected",
            f"the VM is {look.run_state!r} and should be {resolution.run_state_after.value!r}",
        )
    return tuple(parts)


def _check_instant(program: Program, parts: list[Part], context: RunContext) -> None:
    # Fact 15: parts saved while the guest was stopped carry the same vm-clock.  A disk-only
    # snapshot of a running guest is one cut by draining (fact 24), and its clocks may differ.
    resolution = program.resolution
    stopped = resolution.has_machine_state or resolution.run_state_before != "running"
    clocks = {part.snapshot.vm_clock_ns for part in parts}
    if stopped and len(clocks) > 1:
        raise context.failed(
            "parts-differ", "the parts are of different instants (vm-clock, fact 15)"
        )


def _check_vmstate(program: Program, parts: list[Part], context: RunContext) -> None:
    for part in parts:
        holds = _holds_vmstate(part.snapshot)
        wanted = part.disk == program.resolution.vmstate
        if holds != wanted:
            how = "holds" if holds else "lacks"
            raise context.failed(
                "vmstate-misplaced", f"the part on {part.disk} {how} machine state"
            )


def _holds_vmstate(snapshot: SnapshotInfo) -> bool:
    return snapshot.vm_state_size_bytes > 0


def disks_as_shown(context: RunContext) -> Flow[dict[str, Disk]]:
    """Ask how the disks are built now, by name; the VM is the same afterwards.

    Raises:
        StepFailed: The VM does not answer.
    """
    nodes = context.must_be_done((yield Send("query-named-block-nodes", {"flat": True})))
    block = context.must_be_done((yield Send("query-block")))
    stats = context.must_be_done((yield Send("query-blockstats")))
    replies = Replies(
        version=None,
        status=None,
        block=block,
        named_block_nodes=nodes,
        blockstats=stats,
        jobs=[],
        block_jobs=[],
        migrate={},
        schema=(),
    )
    return {disk.name: disk for disk in disks_of(replies)[0]}


def confirm_overlays(
    program: Program, disks: dict[str, Disk], context: RunContext
) -> tuple[FrozenPart, ...]:
    """Check that each disk to be frozen lies under its overlay, which the guest writes to now.

    Raises:
        StepFailed: One does not.
    """
    return tuple(
        _frozen_part(overlay, disks.get(overlay.disk), context)
        for overlay in program.resolution.overlays
    )


def _frozen_part(overlay: Overlay, disk: Disk | None, context: RunContext) -> FrozenPart:
    base = disk.backing[0] if disk is not None and disk.backing else None
    if disk is None or base is None or disk.node != overlay.overlay:
        raise context.failed("part-count", f"{overlay.disk} is not on its overlay {overlay.path}")
    if base.filename != overlay.base_file:
        raise context.failed(
            "part-count", f"under {overlay.disk}'s overlay lies {base.filename}, another image"
        )
    return FrozenPart(
        overlay.disk,
        overlay.node,
        overlay.base_file,
        overlay.base_format,
        overlay.overlay,
        overlay.path,
        overlay.size_bytes,
    )
