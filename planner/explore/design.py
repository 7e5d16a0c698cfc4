"""A design that is a file: instructions that some QEMU has, or that somebody proposes.

The instructions name operations by kind and, where it matters, which disks: `vmstate` (the one that
holds the machine state), `others`, or `all`.  Laid over a request they become the explorer's
instructions; what the request does not need falls away, and an instruction with nothing left is not
sent.

Rules: plain values; a design that does not cover a request, each operation once, is refused with what
is wrong, as the designs of today are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Union

from attrs import field, frozen

from planner.compile.graph import build_graph
from planner.errors import Problem, Refused, in_order
from planner.explore.instruction import (
    CopyOf,
    Instruction,
    OnExistingTag,
    OnFailure,
    SideEffect,
    VmstateIn,
    VmstateOf,
)
from planner.model.operations import Kind, Operation
from planner.model.request import Capture
from planner.program.resolution import Resolution, operations_of

__all__ = [
    "IN_AN_IMAGE",
    "AnyOrder",
    "DesignFile",
    "InOrder",
    "Pattern",
    "PlannedInstruction",
    "Proposer",
    "Which",
    "instructions_for",
    "rules_say",
]

IN_AN_IMAGE = "image"
"""In place of a capture: machine state has an image of its own."""

Which = str
"""``vmstate``, ``others`` or ``all``."""


@frozen
class Pattern:
    """Some of a request's operations."""

    kind: Kind
    which: Which = "all"


@frozen
class InOrder:
    """One after the other."""

    parts: tuple[Body, ...]


@frozen
class AnyOrder:
    """In whatever order QEMU likes."""

    parts: tuple[Body, ...]


Body = Union[Pattern, InOrder, AnyOrder]  # noqa: UP007 - the three refer to each other


@frozen
class PlannedInstruction:
    """An instruction as a design has it, for any request.

    Attributes:
        name: What it is called.
        does: What it does.
        each_alone: Whether it is sent once for each operation.
        needs_machine_state: Whether it cannot do without.
        atomic, stops_guest, on_failure, existing_tag, vmstate_in, vmstate_of, waits_for_tracking,
            copy_of, effect: As in `Instruction`; one with an effect does nothing else.
    """

    name: str
    does: Body
    each_alone: bool = False
    needs_machine_state: bool = False
    atomic: bool = False
    stops_guest: bool = False
    on_failure: OnFailure = OnFailure.WHAT_WAS_DONE
    existing_tag: OnExistingTag = OnExistingTag.REFUSE
    vmstate_in: VmstateIn = VmstateIn.ACTIVE_LAYER
    vmstate_of: VmstateOf = VmstateOf.WRITE
    waits_for_tracking: bool = False
    copy_of: CopyOf = CopyOf.BEGIN
    effect: SideEffect = SideEffect.NONE


@frozen
class Proposer:
    """Who proposed a design, and in which words."""

    who: str
    where: str
    says: str = ""


@frozen
class DesignFile:
    """A design.

    Attributes:
        name: What it is called.
        summary: What it is, in a sentence.
        exists: In which QEMU; empty where in none.
        proposed_by: Who said what.
        instructions: In the order in which a client sends them.
        verdict: By set of faults, the ids of the properties that do not hold.
        finding: What the verdict means.
        capture: The one way in which it captures machine state beside the disks, `IN_AN_IMAGE` for an
            image of its own; empty: it captures none there.
    """

    name: str
    summary: str
    instructions: tuple[PlannedInstruction, ...]
    exists: str = ""
    proposed_by: tuple[Proposer, ...] = ()
    verdict: Mapping[str, tuple[str, ...]] = field(factory=dict, hash=False)
    finding: str = ""
    capture: str = ""


def instructions_for(design: DesignFile, resolution: Resolution) -> tuple[Instruction, ...]:
    """Lay a design over a request.

    Raises:
        Refused: It cannot do the request; each problem says why.
    """
    operations = tuple(operations_of(resolution))
    found = [
        instruction
        for planned in design.instructions
        for instruction in _instructions(planned, operations, resolution.vmstate_at)
    ]
    problems = [*_capture_differs(design, resolution), *_missing(design, operations, found)]
    if not resolution.has_machine_state:
        problems += [
            _cannot(design, "machine-state", f"{planned.name} always saves machine state")
            for planned in design.instructions
            if planned.needs_machine_state
        ]
    if problems:
        raise Refused(
            f"design {design.name} cannot do this request",
            problems=tuple(problems),
            code="design-cannot",
        )
    return tuple(found)


def _capture_differs(design: DesignFile, resolution: Resolution) -> Iterator[Problem]:
    wanted = "" if resolution.stream is None else str(resolution.stream.capture)
    asked = f"says `capture: {wanted}`" if wanted else "asks for no external machine state"
    if resolution.vmstate_node is not None:
        wanted, asked = IN_AN_IMAGE, "asks for an image of its own"
    if design.capture and wanted != design.capture:
        yield _cannot(design, "machine-state", f"it captures {design.capture}; the request {asked}")


def _missing(
    design: DesignFile, operations: Sequence[Operation], found: Sequence[Instruction]
) -> Iterator[Problem]:
    covered = [operation for instruction in found for operation in instruction.operations]
    for operation in operations:
        count = covered.count(operation)
        if count != 1:
            how = "no instruction of it does" if count == 0 else f"{count} instructions of it do"
            yield _cannot(design, operation.disk or operation.kind, f"{how} {operation}")


def _cannot(design: DesignFile, subject: str, why: str) -> Problem:
    return Problem("design-cannot", subject, f"design {design.name}: {why}")


def _instructions(
    planned: PlannedInstruction, operations: Sequence[Operation], vmstate: str
) -> Iterator[Instruction]:
    if planned.effect is not SideEffect.NONE:
        for disk in _effect_disks(planned.effect, operations):
            yield Instruction(planned.name, (), (), effect=planned.effect, effect_disk=disk)
        return
    binding = _Binding(operations, vmstate)
    binding.bind(planned.does, 0)
    if not binding.operations:
        return
    if planned.each_alone:
        for operation in binding.operations:
            yield _instruction(planned, (operation,), (0,))
    else:
        yield _instruction(planned, tuple(binding.operations), tuple(binding.before))


def _effect_disks(effect: SideEffect, operations: Sequence[Operation]) -> Iterator[str]:
    """For each time that an effect is needed, the disk that it is about."""
    kinds = _NEEDED_FOR.get(effect, (Kind.BEGIN_STREAM_VMSTATE,))
    return (operation.disk for operation in operations if operation.kind in kinds)


_NEEDED_FOR: Mapping[SideEffect, tuple[Kind, ...]] = {
    SideEffect.CREATE_OVERLAY: (Kind.ADD_OVERLAY,),
    SideEffect.CREATE_IMAGE: (Kind.ADD_VMSTATE_NODE,),
    SideEffect.REMOVE_NODE: (Kind.ADD_VMSTATE_NODE,),
    SideEffect.CREATE_COPY: (Kind.ADD_TARGET,),
    SideEffect.REMOVE_TARGET: (Kind.END_COPY,),
    SideEffect.KEEP_COPY: (Kind.END_COPY,),
    SideEffect.KEEP_STREAM: (Kind.BEGIN_STREAM_VMSTATE, Kind.ADD_VMSTATE_NODE),
}


def _instruction(
    planned: PlannedInstruction, operations: tuple[Operation, ...], before: tuple[int, ...]
) -> Instruction:
    return Instruction(
        planned.name,
        operations,
        before,
        planned.atomic,
        planned.stops_guest,
        planned.on_failure,
        planned.existing_tag,
        planned.vmstate_in,
        planned.vmstate_of,
        planned.waits_for_tracking,
        planned.copy_of,
    )


class _Binding:
    """Collects the operations of a body, each with those before it."""

    def __init__(self, operations: Sequence[Operation], vmstate: str) -> None:
        self._all = operations
        self._vmstate = vmstate
        self.operations: list[Operation] = []
        self.before: list[int] = []

    def bind(self, body: Body, before: int) -> int:
        """Take in a body that comes after some operations; the mask of its own."""
        if isinstance(body, Pattern):
            return self._bind_pattern(body, before, chained=False)
        mine = 0
        for part in body.parts:
            after = before | mine if isinstance(body, InOrder) else before
            if isinstance(part, Pattern):
                mine |= self._bind_pattern(part, after, chained=isinstance(body, InOrder))
            else:
                mine |= self.bind(part, after)
        return mine

    def _bind_pattern(self, pattern: Pattern, before: int, *, chained: bool) -> int:
        mine = 0
        for operation in self._all:
            if operation.kind is pattern.kind and self._is_meant(operation, pattern.which):
                self.before.append(before | mine if chained else before)
                mine |= 1 << len(self.operations)
                self.operations.append(operation)
        return mine

    def _is_meant(self, operation: Operation, which: Which) -> bool:
        if which == "vmstate":
            return operation.disk == self._vmstate
        return which == "all" or operation.disk != self._vmstate


def rules_say(instructions: Sequence[Instruction], resolution: Resolution) -> tuple[Problem, ...]:
    """What the ordering rules say of instructions, without any search; nothing: the cover is legal.

    As `planner.compile.lower`, but for instructions that promise a part of an order, and that stand
    in an order already.
    """
    owner = {op: number for number, i in enumerate(instructions) for op in i.operations}
    problems = set()
    for before, after, data in build_graph(operations_of(resolution)).edges(data=True):
        rules = " and ".join(data["rules"])
        first, second = owner[before], owner[after]
        if first > second:
            problems.add(
                Problem(
                    data["rules"][0], instructions[second].name, f"does {after} before {before}"
                )
            )
        elif first == second and not _promises(instructions[first], before, after):
            why = f"does not promise {before} before {after}, which {rules} asks for"
            problems.add(Problem("no-order-in-a-transaction", instructions[first].name, why))
    problems.update(_untracked(instructions))
    return in_order(problems)


def _untracked(instructions: Sequence[Instruction]) -> Iterator[Problem]:
    for instruction in instructions:
        begins = any(
            operation.kind is Kind.BEGIN_STREAM_VMSTATE and operation.detail == Capture.BACKGROUND
            for operation in instruction.operations
        )
        if begins and not instruction.waits_for_tracking:
            why = "does not wait until write tracking is seen to be on"
            yield Problem("tracking-before-resume", instruction.name, why)


def _promises(instruction: Instruction, before: Operation, after: Operation) -> bool:
    places = {operation: number for number, operation in enumerate(instruction.operations)}
    reached, waiting = 0, instruction.before[places[after]]
    while waiting & ~reached:
        number = (waiting & ~reached & -(waiting & ~reached)).bit_length() - 1
        reached |= 1 << number
        waiting |= instruction.before[number]
    return bool(reached >> places[before] & 1)
