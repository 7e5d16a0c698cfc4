"""The same question for an outside witness: a setting as a Promela model for SPIN.

The model is written from the setting, not from the explorer: images are a few bytes a disk instead of
layers, undo is a guard instead of a look, and who owns a part is one boolean expression.  So where
SPIN and the explorer agree, two readings of the design agree.

Rules: deterministic text.  The end of every run chooses one property and asserts it, so that one
search (``pan -c0``) names every property that can be violated.  Other clients are not in it, nor is
`old-intact`, nor `qemu-lives`, which is about undo and not about a design.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.errors import Problem, Refused
from planner.explore.copies import COPY_KINDS
from planner.explore.freezing import FREEZING_KINDS
from planner.explore.instruction import Instruction, OnFailure, VmstateIn, VmstateOf
from planner.explore.outside import EXTERNAL_KINDS
from planner.explore.promela_head import HEAD
from planner.explore.promela_limits import PromelaLimits
from planner.explore.promela_orphans import THAW_IN_UNDO, PromelaOrphans
from planner.explore.promela_outside import DECLARED, PromelaOutside
from planner.explore.promela_properties import any_of, verdict, word_for
from planner.explore.state import Setting
from planner.model.operations import CAPTURES, Kind

__all__ = ["promela"]

_LIMIT_OPERATIONS = 15
_PARTIAL = 255


_CAN_FAIL = (
    frozenset({Kind.WRITE_VMSTATE, Kind.SNAPSHOT_DISK})
    | EXTERNAL_KINDS
    | COPY_KINDS
    | FREEZING_KINDS
)
_DISK_CAPTURES = (Kind.SNAPSHOT_DISK, Kind.SWITCH_TO_OVERLAY, Kind.BEGIN_COPY)
_TAKEN_BACK = (Kind.WRITE_VMSTATE, *_DISK_CAPTURES)


def promela(setting: Setting) -> str:
    """Write a setting as a Promela model.

    Raises:
        Refused: It has what the model does not know: other clients, or too many operations.
    """
    _check(setting)
    writer = _Writer(setting)
    title = (
        f"design {setting.design}: {len(setting.of_guest)} disks, {setting.faults} faults at most"
    )
    head = HEAD.format(
        title=title,
        disks=len(setting.disks),
        vmstate=setting.vmstate,
        count=len(setting.instructions),
        faults=setting.faults,
        runs_before=word_for(setting.runs_before),
    )
    declared = DECLARED + writer.limits.declared()
    return "\n".join([head + declared, *writer.process(), ""])


def _check(setting: Setting) -> None:
    why = []
    if setting.other_clients:
        why.append("other clients are not in the Promela model")
    if any(len(i.operations) > _LIMIT_OPERATIONS for i in setting.instructions):
        why.append(f"an instruction has more than {_LIMIT_OPERATIONS} operations")
    if why:
        problems = tuple(Problem("export-cannot", setting.design, reason) for reason in why)
        raise Refused("this cannot be exported", problems=problems, code="export-cannot")


class _Writer:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._number = {name: number for number, name in enumerate(setting.disks)}
        self._disks = range(len(setting.disks))
        self._outside = PromelaOutside(setting)
        self._orphans = PromelaOrphans(setting, self._outside)
        self.limits = PromelaLimits(setting)

    def process(self) -> Iterator[str]:
        yield "active proctype a_run() {"
        yield "  atomic {"
        yield "    d = 0; do :: d < N -> content[d] = 1; d++ :: else -> break od;"
        for disk, _ in self._setting.replaced:
            yield f"    old[{disk}] = true;"
        yield "    d = 0"
        yield "  };"
        yield "  do"
        yield from self._guest()
        yield from self._outside.by_itself()
        for at, instruction in enumerate(self._setting.instructions):
            yield from self._instruction(at, instruction)
        yield "  :: atomic { phase == STEPPING && at == K -> phase = DONE }"
        yield from self._undo()
        yield from self._death()
        yield from self._orphans.moves()
        yield "  :: atomic { phase >= DONE -> break }"
        yield "  od;"
        yield from verdict(self._setting, self._outside, self._setting.limits.asked)
        yield "}"

    # --- the VM ---

    def _guest(self) -> Iterator[str]:
        yield "  :: atomic { WORKS && running && captured ->"
        yield "       version++; captured = false;"
        for disk in range(len(self._setting.of_guest)):
            yield f"       if :: {self._drained(disk)} -> skip"
            yield f"       :: else -> content[{disk}] = version;{self._outside.written(disk)}"
            yield f"          if :: part[{disk}] && until[{disk}] == 0 -> until[{disk}] = version"
            yield "          :: else -> skip fi"
            yield "       fi;"
        yield "       skip }"

    def _drained(self, disk: int) -> str:
        terms = [
            f"(sent && at == {at} && (done & {1 << number}))"
            for at, instruction in enumerate(self._setting.instructions)
            if instruction.atomic
            for number, operation in enumerate(instruction.operations)
            if operation.kind in _DISK_CAPTURES and self._number[operation.disk] == disk
        ]
        return any_of([*terms, "frozen"] if self._setting.freezes else terms, "false")

    def _instruction(self, at: int, instruction: Instruction) -> Iterator[str]:
        idle = f"phase == STEPPING && !sent && at == {at}"
        inside = f"WORKS && sent && at == {at}"
        heard = f"phase == STEPPING && sent && at == {at}"
        noted = self._noted(at, instruction)
        yield f"  /* {at}: {instruction.name} */"
        yield f"  :: atomic {{ {idle} -> {noted} sent = true; done = 0; stopped = false;"
        yield f"       failing = {self._refused(instruction)};{self._outside.effect(instruction)}"
        yield "       skip }"
        yield f"  :: atomic {{ {idle} && budget > 0 -> {noted} budget--; attempt[{at}] = FAILED;"
        yield f"       {_LOOK} }}"
        yield f"  :: atomic {{ {idle} && budget > 0 -> {noted} budget--; {_LOOK} }}"
        for number in range(len(instruction.operations)):
            yield from self._operation(at, instruction, number)
        whole = (1 << len(instruction.operations)) - 1
        ended = f"{heard} && !failing && done == {whole}"
        yield f"  :: atomic {{ {ended} -> attempt[{at}] = APPLIED; at++; sent = false; done = 0;"
        yield "       stopped = false }"
        yield f"  :: atomic {{ {ended} && budget > 0 -> budget--; {_LOOK} }}"
        if instruction.in_stream:
            under_way = f"(done & {instruction.in_stream}) != 0"
            struck = f"{heard} && !failing && {under_way} && budget > 0"
            yield f"  :: atomic {{ {struck} -> budget--; {_LOOK} }}"
        yield from self._reactions(at, instruction, inside)
        yield from self._orphans.settle(at, instruction)

    def _noted(self, at: int, instruction: Instruction) -> str:
        kinds = instruction.kinds
        text = f"attempt[{at}] = UNKNOWN;"
        if Kind.PAUSE_GUEST in kinds:
            text += " sent_stop = true;"
        elif Kind.RESUME_GUEST in kinds:
            text += " sent_cont = true;"
        return text

    def _refused(self, instruction: Instruction) -> str:
        held = [f"old[{self._number[d]}]" for d in instruction.disks(Kind.SNAPSHOT_DISK)]
        if instruction.existing_tag == "refuse":
            return any_of(held, "false")
        if instruction.existing_tag == "refuse-if-all":
            return " && ".join(held) if held else "false"
        return "false"

    def _operation(self, at: int, instruction: Instruction, number: int) -> Iterator[str]:
        before, bit = instruction.before[number], 1 << number
        operation = instruction.operations[number]
        guard = (
            f"WORKS && sent && at == {at} && !failing && !(done & {bit}) && "
            f"(done & {before}) == {before}{self._outside.waits(instruction.operations[number])}"
        )
        disk = self._number.get(operation.disk, -1)
        doing = self.limits.noted(instruction, operation.kind)
        doing += self._doing(instruction, operation.kind, disk) + self._unfrozen(operation.kind)
        can = self._outside.can(operation)
        if operation.kind is Kind.WRITE_VMSTATE and self._in_snapshot(instruction):
            can = f"part[{disk}]" + (f" && {can}" if can else "")
        if can:
            yield f"  :: atomic {{ {guard} && ({can}) -> {doing} done = done | {bit} }}"
            spoilt = self._outside.refused(operation.kind)
            yield f"  :: atomic {{ {guard} && !({can}) -> {spoilt}{self._fails(instruction)} }}"
        else:
            yield f"  :: atomic {{ {guard} -> {doing} done = done | {bit} }}"
        if operation.kind in _CAN_FAIL:
            spoilt = self._spoilt(instruction, operation.kind, disk)
            yield f"  :: atomic {{ {guard} && budget > 0 -> budget--; {spoilt}"
            yield f"       {self._fails(instruction)} }}"

    def _in_snapshot(self, instruction: Instruction) -> bool:
        return instruction.vmstate_in is VmstateIn.SNAPSHOT

    def _doing(self, instruction: Instruction, kind: Kind, disk: int) -> str:
        instant = "held" if instruction.vmstate_of is VmstateOf.PAUSE else "version"
        match kind:
            case Kind.FREEZE_FILESYSTEMS:
                return "frozen = true;"
            case Kind.THAW_FILESYSTEMS:
                return "frozen = false;"
            case Kind.PAUSE_GUEST:
                tracked = any(i.vmstate_of is VmstateOf.PAUSE for i in self._setting.instructions)
                hold = "held = version; captured = true;" if tracked else ""
                own = f"stopped = running && {word_for(instruction.stops_guest)};"
                return f"{own} {hold} running = false;{self._outside.paused()}"
            case Kind.RESUME_GUEST:
                return "running = true; inactive = false;"
            case external if external in EXTERNAL_KINDS | COPY_KINDS:
                return self._outside.doing(instruction, kind, disk)
            case Kind.WRITE_VMSTATE if self._in_snapshot(instruction):
                return f"part_vmstate[{disk}] = {instant}; captured = true;"
            case Kind.WRITE_VMSTATE:
                return f"layer[{disk}] = {instant}; captured = true;"
            case Kind.SNAPSHOT_DISK:
                return (
                    f"part[{disk}] = true; part_content[{disk}] = content[{disk}]; "
                    f"part_vmstate[{disk}] = layer[{disk}]; until[{disk}] = 0; captured = true;"
                )
            case Kind.DISCARD_VMSTATE:
                return f"layer[{disk}] = 0;"
            case _:
                return f"old[{disk}] = false;"

    def _unfrozen(self, kind: Kind) -> str:
        if kind not in CAPTURES or kind is Kind.WRITE_VMSTATE or not self._setting.freezes:
            return ""
        return " unfrozen = unfrozen || !frozen;"

    def _spoilt(self, instruction: Instruction, kind: Kind, disk: int) -> str:
        if kind is not Kind.WRITE_VMSTATE:
            return self._outside.struck(kind, disk)
        if self._in_snapshot(instruction):
            return f"if :: part[{disk}] -> part_vmstate[{disk}] = PARTIAL :: else -> skip fi;"
        return f"layer[{disk}] = PARTIAL;"

    def _fails(self, instruction: Instruction) -> str:
        return f"failing = true; takeback = {self._takeback(instruction)};"

    def _takeback(self, instruction: Instruction) -> str:
        masks = {
            kind: sum(1 << n for n, op in enumerate(instruction.operations) if op.kind is kind)
            for kind in _TAKEN_BACK
        }
        writes, snapshots = masks[Kind.WRITE_VMSTATE], masks[Kind.SNAPSHOT_DISK]
        if instruction.on_failure is OnFailure.NOTHING:
            captures = sum(masks[kind] for kind in _DISK_CAPTURES)
            return f"((done & {captures}) | {writes})"
        if instruction.on_failure is OnFailure.CLEANED_UP:
            return f"((done & {writes}) == {writes} -> {snapshots} : 0)"
        return "0"

    def _reactions(self, at: int, instruction: Instruction, inside: str) -> Iterator[str]:
        for number, operation in enumerate(instruction.operations):
            if operation.kind not in _TAKEN_BACK:
                continue
            bit, disk = 1 << number, self._number[operation.disk]
            if operation.kind is Kind.WRITE_VMSTATE:
                effect = f"layer[{disk}] = 0;"
            elif operation.kind is Kind.SWITCH_TO_OVERLAY:
                effect = f"over[{disk}] = false;"
            elif operation.kind is Kind.BEGIN_COPY:
                effect = f"job[{disk}] = 0;"
            elif instruction.on_failure is OnFailure.CLEANED_UP:
                effect = (
                    f"if :: old[{disk}] -> old[{disk}] = false :: else -> part[{disk}] = false fi;"
                )
            else:
                effect = f"part[{disk}] = false;"
            guard = f"{inside} && failing && (takeback & {bit})"
            yield f"  :: atomic {{ {guard} -> {effect} takeback = takeback & ~{bit} }}"
        settled = f"{inside} && failing && takeback == 0"
        yield f"  :: atomic {{ {settled} && stopped && !running ->"
        yield "       running = true; stopped = false }"
        ready = f"phase == STEPPING && {settled} && !(stopped && !running)"
        yield f"  :: atomic {{ {ready} -> attempt[{at}] = FAILED; {_LOOK} }}"
        yield f"  :: atomic {{ {ready} && budget > 0 -> budget--; {_LOOK} }}"

    # --- undo ---

    def _owns(self, disk: int) -> str:
        """Whether the part of a disk is provably the run's own, and is deleted by its id."""
        if disk == self._setting.own:
            return "false"
        for at, instruction in enumerate(self._setting.instructions):
            disks = [self._number[name] for name in instruction.disks(Kind.SNAPSHOT_DISK)]
            if disk not in disks:
                continue
            mine = f"(part[{disk}] && !clean[{disk}] && attempt[{at}] != NOT_SENT"
            if not instruction.atomic:
                return mine + ")"
            every = " && ".join(f"part[{d}] && !clean[{d}]" for d in disks)
            unknown = f"(attempt[{at}] == UNKNOWN && (dead || ({every})))"
            return f"{mine} && (attempt[{at}] == APPLIED || {unknown}))"
        return "false"

    def _undo(self) -> Iterator[str]:
        yield "  :: atomic { phase == LOOKING ->"
        for at, instruction in enumerate(self._setting.instructions):
            disks = [self._number[name] for name in instruction.disks(Kind.SNAPSHOT_DISK)]
            if disks and disks != [self._setting.own]:
                own = any_of([self._owns(disk) for disk in disks], "false")
                yield f"       if :: {own} -> attempt[{at}] = APPLIED :: else -> skip fi;"
        yield "       phase = UNDOING }"
        waits = []
        for disk in self._disks:
            wait = f"({self._owns(disk)} && !left[{disk}])"
            waits.append(wait)
            guard = f"UNDOES && {wait}{self._outside.ready()}"
            gone = f"part[{disk}] = false;"
            yield f"  :: atomic {{ {guard} -> {gone} clean[{disk}] = true }}"
            struck = f"{guard} && budget > 0 -> budget--;"
            yield f"  :: atomic {{ {struck} left[{disk}] = true }}"
            yield f"  :: atomic {{ {struck} phase = LOOKING }}"
            yield f"  :: atomic {{ {struck} {gone} phase = LOOKING }}"
            yield f"  :: atomic {{ phase == OFFLINE && {wait} -> {gone} clean[{disk}] = true }}"
        none = f"!({any_of(waits, 'false')})"
        before = self._setting.runs_before
        wrong = "(!running && (sent_stop || io_error))" if before else "(running && sent_cont)"
        yield from THAW_IN_UNDO
        yield from self._outside.undo(none)
        settled = f"UNDOES && {none}{self._outside.settled(offline=False)}"
        yield f"  :: atomic {{ {settled} && !{wrong} -> phase = ENDED }}"
        yield f"  :: atomic {{ {settled} && {wrong} -> running = {word_for(before)}; phase = ENDED }}"
        yield f"  :: atomic {{ {settled} && {wrong} && budget > 0 ->"
        yield "       budget--; left_paused = true; phase = ENDED }"
        gone = f"phase == OFFLINE && {none}{self._outside.settled(offline=True)}"
        yield f"  :: atomic {{ {gone} -> phase = ENDED }}"

    def _death(self) -> Iterator[str]:
        yield "  :: atomic { phase < OFFLINE && budget > 0 -> budget--; dead = true; running = false;"
        yield "       phase = OFFLINE; sent = false; done = 0; failing = false; stopped = false;"
        yield "       takeback = 0; captured = false; frozen = false;"
        yield f"       {self._outside.copies.died()} skip }}"


_LOOK = (
    "phase = LOOKING; sent = false; done = 0; failing = false; stopped = false; takeback = 0; "
    "captured = false"
)
