"""From a request and facts to what is explored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from planner.errors import Problem, Refused
from planner.explore.copies import COPY_KINDS
from planner.explore.freezing import FREEZING_KINDS
from planner.explore.instruction import ClientKind, Instruction, instruction_of_step
from planner.explore.layers import TAG
from planner.explore.limits import NO_LIMITS, Limits
from planner.explore.outside import EXTERNAL_KINDS
from planner.explore.state import UNDO_STEPS, ClientDeath, Setting
from planner.model.facts import Disk, Facts
from planner.model.operations import Kind
from planner.model.request import RunStateAfter
from planner.program.program import FLUSHES, Program
from planner.program.resolution import Resolution
from planner.semantics import LayerSnapshot, Qcow2Image, Vmstate

__all__ = ["instructions_of", "setting_of"]

_KNOWN = frozenset(
    {
        Kind.PAUSE_GUEST,
        Kind.RESUME_GUEST,
        Kind.WRITE_VMSTATE,
        Kind.SNAPSHOT_DISK,
        Kind.DISCARD_VMSTATE,
        Kind.DELETE_DISK_SNAPSHOT,
    }
    | EXTERNAL_KINDS
    | COPY_KINDS
    | FREEZING_KINDS
)


_UNDO: Mapping[ClientKind, frozenset[str]] = {
    ClientKind.CAREFUL: frozenset(UNDO_STEPS),
    ClientKind.DOES_NOT_LOOK: frozenset(UNDO_STEPS) - {"remember-what-was-made", "by-id"},
    ClientKind.DOES_NOT_UNDO: frozenset(),
}
"""What each kind of client does about a failure."""


def instructions_of(program: Program) -> tuple[Instruction, ...]:
    """A program's steps as instructions, but for those that only write back what the host holds."""
    steps = (step for step in program.steps if step.execute not in FLUSHES)
    return tuple(instruction_of_step(step) for step in steps)


def setting_of(  # noqa: PLR0913 - what an exploration is about
    resolution: Resolution,
    instructions: Sequence[Instruction],
    design: str,
    facts: Facts | None = None,
    *,
    faults: int = 0,
    other_clients: bool = False,
    client_death: ClientDeath = ClientDeath.NEVER,
    client: ClientKind = ClientKind.CAREFUL,
    limits: Limits = NO_LIMITS,
) -> Setting:
    """What is explored for a resolved request.

    Args:
        resolution: The request, resolved.
        instructions: What is sent.
        design: Where they are from.
        facts: For what the images hold already; without them they hold what is replaced.
        faults: How many faults may strike.
        other_clients: Whether other QMP clients act too.
        client_death: Whether the client may die, and what comes then.
        client: How the client treats a failure.
        limits: What is asked of the pause.

    Raises:
        Refused: The request needs what this model does not know.
    """
    strange = sorted({k.value for i in instructions for k in i.kinds if k not in _KNOWN})
    if strange:
        problems = tuple(
            Problem("explore-cannot", word, "the explorer does not model this operation")
            for word in strange
        )
        raise Refused("this cannot be explored", problems=problems, code="explore-cannot")
    inside = tuple(part.disk for part in resolution.internal)
    own = () if resolution.vmstate_node is None else (resolution.vmstate_node.node,)
    over = tuple(overlay.disk for overlay in resolution.overlays)
    names = (*inside, *over, *(copy.disk for copy in resolution.copies), *own)
    numbers = {name: number for number, name in enumerate(names)}
    replaced = tuple((numbers[old.disk], old.id) for old in resolution.replaced)
    disks = {disk.name: disk for disk in facts.disks} if facts else {}
    return Setting(
        design=design,
        tag=resolution.tag,
        disks=names,
        vmstate=numbers.get(resolution.vmstate_at, -1),
        instructions=tuple(instructions),
        images=tuple(
            _image(disks.get(name), resolution.tag, [i for d, i in replaced if d == number])
            for name, number in numbers.items()
        ),
        replaced=replaced,
        runs_before=resolution.run_state_before is RunStateAfter.RUNNING,
        runs_after=resolution.run_state_after is RunStateAfter.RUNNING,
        faults=faults,
        other_clients=other_clients,
        overlays=((1 << len(over)) - 1) << len(inside),
        client_death=client_death,
        limits=limits,
        undo=_UNDO[client],
        capture="" if resolution.stream is None else resolution.stream.capture,
        own=len(names) - 1 if own else -1,
        copies=((1 << len(resolution.copies)) - 1) << len(inside) + len(over),
        spares_guest=all(copy.spares_guest for copy in resolution.copies),
    )


def _image(disk: Disk | None, tag: str, replaced: list[str]) -> Qcow2Image:
    if disk is None:  # nothing is known of it, or it is the machine state's own
        return Qcow2Image(content=1, snapshots=tuple(_old(i, TAG, holds=False) for i in replaced))
    return Qcow2Image(
        content=1,
        snapshots=tuple(
            _old(s.id, TAG if s.name == tag else f"old {s.name}", holds=s.vm_state_size_bytes > 0)
            for s in disk.snapshots
        ),
    )


def _old(snapshot_id: str, name: str, *, holds: bool) -> LayerSnapshot:
    return LayerSnapshot(
        id=snapshot_id,
        name=name,
        vm_clock_ns=0,
        vm_state_size_bytes=int(holds),
        content=0,
        instant=0,
        vmstate=Vmstate(0, 0) if holds else None,
    )
