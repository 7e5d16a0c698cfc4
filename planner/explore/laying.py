"""A design laid over a request: which operations each of its instructions does there.

Nothing of a design falls away in silence.  What it names is done, or is left out because the request
does not need it, and that is told; or the design is refused.  A design may do more than the request asks
for (freeze the file systems, pause a guest that need not be paused) and less (no pause, no `cont`, no
discard): that is explored, and the properties judge it.  Refused is a part that no instruction captures,
or that two do.

Rules: pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from planner.errors import Problem, Refused
from planner.explore.design import (
    IN_AN_IMAGE,
    NO_MACHINE_STATE,
    Body,
    DesignFile,
    InOrder,
    Pattern,
    PlannedInstruction,
    Which,
)
from planner.explore.instruction import Instruction, SideEffect
from planner.model.operations import CAPTURES, Kind, Operation
from planner.model.request import RunStateAfter
from planner.program.resolution import Resolution, operations_of

__all__ = ["Laid", "bound", "instructions_for", "lay", "named"]

_GOING_BACK = (Kind.REVERT_DISK, Kind.READ_VMSTATE, Kind.RESET_GUEST)
_MUST = (
    *(Kind.SNAPSHOT_DISK, Kind.SWITCH_TO_OVERLAY, Kind.BEGIN_COPY, Kind.WRITE_VMSTATE),
    *(Kind.BEGIN_STREAM_VMSTATE, Kind.FREEZE_FILESYSTEMS),
)
"""What a design that lacks them cannot do; without any other it does the request, and wrongly."""

_AGAIN = (
    *(Kind.PAUSE_GUEST, Kind.RESUME_GUEST, Kind.FREEZE_FILESYSTEMS, Kind.THAW_FILESYSTEMS),
    Kind.DISCARD_VMSTATE,
)
"""What may be done more than once."""

_NOT_NEEDED: Mapping[Kind, str] = {
    Kind.DELETE_DISK_SNAPSHOT: "the request gives up no snapshot",
    Kind.ADD_OVERLAY: "no disk of the request gets an overlay",
    Kind.SWITCH_TO_OVERLAY: "no disk of the request gets an overlay",
    Kind.ADD_VMSTATE_NODE: "machine state has no image of its own",
    Kind.ADD_TARGET: "the request copies no disk",
    Kind.BEGIN_COPY: "the request copies no disk",
    Kind.END_COPY: "the request copies no disk",
    Kind.BEGIN_STREAM_VMSTATE: "the request asks for no external machine state",
    Kind.END_STREAM_VMSTATE: "the request asks for no external machine state",
    Kind.WRITE_VMSTATE: "the request puts no machine state into an image",
    Kind.DISCARD_VMSTATE: "the request puts no machine state into an image",
    Kind.SNAPSHOT_DISK: "no disk of the request that is meant has an internal part",
    Kind.PAUSE_GUEST: "the guest need not be paused",
    Kind.RESUME_GUEST: "the guest need not be resumed",
}

_NEEDED_FOR: Mapping[SideEffect, tuple[Kind, ...]] = {
    SideEffect.CREATE_OVERLAY: (Kind.ADD_OVERLAY,),
    SideEffect.CREATE_IMAGE: (Kind.ADD_VMSTATE_NODE,),
    SideEffect.REMOVE_NODE: (Kind.ADD_VMSTATE_NODE,),
    SideEffect.CREATE_COPY: (Kind.ADD_TARGET,),
    SideEffect.REMOVE_TARGET: (Kind.END_COPY,),
    SideEffect.KEEP_COPY: (Kind.END_COPY,),
    SideEffect.KEEP_STREAM: (Kind.BEGIN_STREAM_VMSTATE, Kind.ADD_VMSTATE_NODE),
}


@frozen
class Laid:
    """A design over a request.

    Attributes:
        instructions: What is sent, in order.
        left_out: What the design has and this request does not need: the instruction, and why.
    """

    instructions: tuple[Instruction, ...]
    left_out: tuple[tuple[str, str], ...] = ()


def instructions_for(design: DesignFile, resolution: Resolution) -> tuple[Instruction, ...]:
    """The instructions of `lay`.

    Raises:
        Refused: As `lay`.
    """
    return lay(design, resolution).instructions


def lay(design: DesignFile, resolution: Resolution) -> Laid:
    """Lay a design over a request.

    Raises:
        Refused: It cannot do the request; each problem says why.
    """
    needed = tuple(operations_of(resolution))
    operations = (*needed, *_besides(design, resolution, needed))
    found: list[Instruction] = []
    left_out: list[tuple[str, str]] = []
    for planned in design.instructions:
        laid = list(_instructions(planned, operations, resolution.vmstate_at))
        found += laid
        left_out += _left_out(planned, laid)
    problems = [
        *_capture_differs(design, resolution),
        *_of_going_back(design),
        *_uncovered(design, operations, found),
    ]
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
    return Laid(tuple(found), tuple(dict.fromkeys(left_out)))


def bound(
    design: DesignFile, operations: Sequence[Operation], vmstate: str
) -> Iterator[Instruction]:
    """A design's instructions with those of some operations that they do, unjudged."""
    for planned in design.instructions:
        yield from _instructions(planned, operations, vmstate)


def _patterns(body: Body) -> Iterator[Pattern]:
    if isinstance(body, Pattern):
        yield body
        return
    for part in body.parts:
        yield from _patterns(part)


def named(design: DesignFile) -> Iterator[tuple[PlannedInstruction, Kind]]:
    """Each kind of operation that a design names, with the instruction that does it."""
    for planned in design.instructions:
        yield from ((planned, pattern.kind) for pattern in _patterns(planned.does))


def _besides(
    design: DesignFile, resolution: Resolution, needed: Sequence[Operation]
) -> Iterator[Operation]:
    """What the design does although the request does not ask for it."""
    kinds = {kind for _, kind in named(design)} - {operation.kind for operation in needed}
    own = [Kind.FREEZE_FILESYSTEMS, Kind.THAW_FILESYSTEMS]
    if _pause_matters(design, resolution, needed):
        own.append(Kind.PAUSE_GUEST)
        if resolution.run_state_after is RunStateAfter.RUNNING:
            own.append(Kind.RESUME_GUEST)
    yield from (Operation(kind) for kind in own if kind in kinds)


def _pause_matters(design: DesignFile, resolution: Resolution, needed: Sequence[Operation]) -> bool:
    """Whether a running guest's pause is what makes one instant of the parts: no transaction does."""
    if resolution.run_state_before is not RunStateAfter.RUNNING or resolution.has_machine_state:
        return False
    captured = {operation.kind for operation in needed} & CAPTURES
    return not any(
        planned.atomic and captured <= {pattern.kind for pattern in _patterns(planned.does)}
        for planned in design.instructions
    )


def _left_out(
    planned: PlannedInstruction, laid: Sequence[Instruction]
) -> Iterator[tuple[str, str]]:
    if planned.effect is not SideEffect.NONE:
        if not laid:
            kind = _NEEDED_FOR.get(planned.effect, (Kind.BEGIN_STREAM_VMSTATE,))[0]
            yield planned.name, f"{planned.effect}: {_NOT_NEEDED[kind]}"
        return
    done = {kind for instruction in laid for kind in instruction.kinds}
    for pattern in _patterns(planned.does):
        if pattern.kind not in done and pattern.kind in _NOT_NEEDED:
            yield planned.name, f"{pattern.kind}: {_NOT_NEEDED[pattern.kind]}"


def _capture_differs(design: DesignFile, resolution: Resolution) -> Iterator[Problem]:
    wanted = "" if resolution.stream is None else str(resolution.stream.capture)
    asked = f"says `capture: {wanted}`" if wanted else "asks for no external machine state"
    if resolution.vmstate_node is not None:
        wanted, asked = IN_AN_IMAGE, "asks for an image of its own"
    if not resolution.has_machine_state:
        wanted, asked = NO_MACHINE_STATE, "asks for no machine state"
    elif not wanted and design.capture == NO_MACHINE_STATE:
        asked = "asks for machine state"
    if design.capture and wanted != design.capture:
        yield _cannot(design, "machine-state", f"it captures {design.capture}; the request {asked}")


def _of_going_back(design: DesignFile) -> Iterator[Problem]:
    for planned, kind in named(design):
        if kind in _GOING_BACK:
            why = f"{planned.name} does {kind}, which goes back to a snapshot; this design saves"
            yield _cannot(design, planned.name, why)


def _uncovered(
    design: DesignFile, operations: Sequence[Operation], found: Sequence[Instruction]
) -> Iterator[Problem]:
    covered = [operation for instruction in found for operation in instruction.operations]
    for operation in operations:
        count = covered.count(operation)
        if count == 0 and operation.kind in _MUST:
            how = "no instruction of it does"
        elif count > 1 and operation.kind not in _AGAIN:
            names = ", ".join(i.name for i in found if operation in i.operations)
            how = f"{count} instructions of it ({names}) do"
        else:
            continue
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
        for numbers in binding.by_disk():
            operations_of_one = tuple(binding.operations[number] for number in numbers)
            before = tuple(binding.before_among(number, numbers) for number in numbers)
            yield _instruction(planned, operations_of_one, before)
    else:
        yield _instruction(planned, tuple(binding.operations), tuple(binding.before))


def _effect_disks(effect: SideEffect, operations: Sequence[Operation]) -> Iterator[str]:
    """For each time that an effect is needed, the disk that it is about."""
    kinds = _NEEDED_FOR.get(effect, (Kind.BEGIN_STREAM_VMSTATE,))
    return (operation.disk for operation in operations if operation.kind in kinds)


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
        completion=planned.completion,
        by_tag=planned.by_tag,
        monitor_answers=planned.monitor_answers,
        leaves_active=planned.leaves_active,
    )


class _Binding:
    """Collects the operations of a body, each with those before it."""

    def __init__(self, operations: Sequence[Operation], vmstate: str) -> None:
        self._all = operations
        self._vmstate = vmstate
        self.operations: list[Operation] = []
        self.before: list[int] = []

    def by_disk(self) -> list[list[int]]:
        """The numbers of the operations, those on one disk together; of no disk each alone."""
        found: dict[str, list[int]] = {}
        for number, operation in enumerate(self.operations):
            found.setdefault(operation.disk or str(number), []).append(number)
        return list(found.values())

    def before_among(self, number: int, numbers: Sequence[int]) -> int:
        """Which of some operations come before one of them, counted among them."""
        mask = self.before[number]
        return sum(1 << place for place, other in enumerate(numbers) if mask >> other & 1)

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
