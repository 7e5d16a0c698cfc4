"""Whether the VM itself shows the whole snapshot: every part, once, of one instant, and no other.

What a part has to show, its kind says (`planner.parts.making`); here the VM is asked for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from planner.model.disk_replies import DiskReplies, disks_of
from planner.model.facts import Disk, SnapshotInfo
from planner.parts.kinds import MAKERS
from planner.parts.making import KeptFile, Making, NotShown, Shown, ShownPart
from planner.program.program import Program
from planner.run.actions import Flow, Send
from planner.run.observation import Observation
from planner.run.run_context import RunContext

__all__ = ["confirm", "disks_as_shown"]


def confirm(  # noqa: PLR0913, PLR0917 - what a run knows in the end
    program: Program,
    look: Observation,
    context: RunContext,
    kept: KeptFile | None,
    in_own_node: tuple[SnapshotInfo, ...] = (),
    copies: Mapping[str, KeptFile] | None = None,
) -> Flow[tuple[ShownPart, ...]]:
    """Check the VM after the last step.

    Args:
        program: What was run.
        look: The VM as it is now.
        context: What is known of the run.
        kept: The file that the run has given its name; None: none.
        in_own_node: What the machine state's own node held before it was taken out of QEMU.
        copies: Likewise, the copies of disks, by path.

    Returns:
        The parts, as the VM shows them.

    Raises:
        StepFailed: Something is missing, twice, of another instant, or beside what was asked for.
    """
    resolution, baseline = program.resolution, context.baseline
    fresh = look.fresh(baseline, resolution.tag)
    shown = Shown(fresh, baseline.filenames, {}, kept, in_own_node, copies or {})
    last = [making for making in MAKERS if making.looks_at_chains(resolution)]
    parts = [
        part
        for making in MAKERS
        if making not in last
        for part in _confirmed(making, program, shown, context)
    ]
    if look.run_state != resolution.run_state_after:
        raise context.failed(
            "run-state-unexpected",
            f"the VM is {look.run_state!r} and should be {resolution.run_state_after.value!r}",
        )
    if last:
        shown = evolve(shown, disks=(yield from disks_as_shown(context)))
        for making in last:
            parts += _confirmed(making, program, shown, context)
    return tuple(parts)


def _confirmed(
    making: Making, program: Program, shown: Shown, context: RunContext
) -> tuple[ShownPart, ...]:
    try:
        return tuple(making.confirmed(program.resolution, shown))
    except NotShown as wrong:
        raise context.failed(wrong.code, wrong.message) from wrong


def disks_as_shown(context: RunContext) -> Flow[dict[str, Disk]]:
    """Ask how the disks are built now, by name; the VM is the same afterwards.

    Raises:
        StepFailed: The VM does not answer.
    """
    nodes = context.must_be_done((yield Send("query-named-block-nodes", {"flat": True})))
    block = context.must_be_done((yield Send("query-block")))
    stats = context.must_be_done((yield Send("query-blockstats")))
    replies = DiskReplies(block=block, named_block_nodes=nodes, blockstats=stats)
    return {disk.name: disk for disk in disks_of(replies)[0]}
