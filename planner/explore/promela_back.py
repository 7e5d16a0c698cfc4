"""A load or a delete as a Promela model for SPIN, written from the setting and not from the explorer.

A disk is one bit, the memory one number; what QEMU takes back is a mask.  Other clients are not in it.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.errors import Problem, Refused
from planner.explore.acts import ClientDeath
from planner.explore.back import BackSetting, Purpose
from planner.explore.instruction import ClientKind, Instruction, OnFailure
from planner.model.operations import Kind, Operation

__all__ = ["promela_back", "spin_back_properties"]

_LIMIT_OPERATIONS = 15
_HEAD = """\
/* {title}
 * Written by `snapplan explore --export promela`.  To search it:
 *   spin -a MODEL && cc -DSAFETY -O2 -o pan pan.c && ./pan -c0 -E -n -m100000
 * Every "assertion violated !(bad_PROPERTY)" is a property that some run violates.
 */
#define K {count}
#define WHOLE {whole}
#define FAULTS {faults}
#define BEFORE 0
#define SAVED 1
#define FRESH 2
#define BROKEN 3
#define STEPPING 0
#define LOOKING 1
#define ORPHANED 2
#define ENDED 3
#define DONE 4
#define OLD (saved == 0 && (memory == BEFORE || memory == FRESH))
#define NEW (saved == WHOLE && (memory == SAVED || memory == FRESH))
#define UNIFORM (OLD || NEW)
#define AFTER (saved == WHOLE && memory == {after})

short saved; byte memory; bool running = {runs}; short held = WHOLE; bool mixed;
byte phase; byte at; bool sent; short done; bool failing; short takeback; bool stopped;
bool again; bool dead; byte budget = FAULTS;
bool bad_never_two_instants; bool bad_complete; bool bad_failure_keeps;
bool bad_way_back; bool bad_atomic;
bool bad_old_intact; bool bad_run_state_restored;
"""
_IDLE = "sent = false; done = 0; failing = false; takeback = 0; stopped = false;"
_LOOK = f"phase = LOOKING; {_IDLE}"
_FALLIBLE = (Kind.REVERT_DISK, Kind.READ_VMSTATE, Kind.DELETE_DISK_SNAPSHOT)


def spin_back_properties(purpose: Purpose) -> tuple[str, ...]:
    """The properties that the model asserts."""
    if purpose is Purpose.LOAD:
        named = ("never-two-instants", "complete", "failure-keeps", "way-back")
        return (*named, "old-intact", "run-state-restored")
    return ("complete", "atomic", "old-intact", "run-state-restored")


def promela_back(setting: BackSetting) -> str:
    """Write a setting as a Promela model.

    Raises:
        Refused: It has what the model does not know: other clients, or too many operations.
    """
    why = ["other clients are not in the Promela model"] if setting.other_clients else []
    if any(len(i.operations) > _LIMIT_OPERATIONS for i in setting.instructions):
        why.append(f"an instruction has more than {_LIMIT_OPERATIONS} operations")
    if why:
        problems = tuple(Problem("export-cannot", setting.design, reason) for reason in why)
        raise Refused("this cannot be exported", problems=problems, code="export-cannot")
    return "\n".join([*_Writer(setting).lines(), ""])


def _word(value: bool) -> str:  # noqa: FBT001 - it writes a value
    return "true" if value else "false"


class _Writer:
    def __init__(self, setting: BackSetting) -> None:
        self._setting = setting
        self._number = {name: number for number, name in enumerate(setting.disks)}
        self._deletes = setting.purpose is Purpose.DELETE

    def lines(self) -> Iterator[str]:
        setting = self._setting
        scale = f"{len(setting.disks)} disks, {setting.faults} faults at most"
        yield _HEAD.format(
            title=f"design {setting.design}: {scale}",
            count=len(setting.instructions),
            whole=setting.whole,
            faults=setting.faults,
            after="FRESH" if setting.resets else "SAVED",
            runs=_word(setting.runs_before),
        )
        yield "active proctype a_run() {"
        yield "  do"
        for at, instruction in enumerate(setting.instructions):
            yield from self._instruction(at, instruction)
        yield "  :: atomic { phase == STEPPING && !sent && at == K -> phase = DONE }"
        yield from self._look()
        yield from self._deaths()
        yield "  :: atomic { phase >= ENDED -> break }"
        yield "  od;"
        yield from self._verdict()
        yield "}"

    def _seen(self) -> str:
        return " mixed = mixed || (running && !UNIFORM)"

    def _instruction(self, at: int, instruction: Instruction) -> Iterator[str]:
        idle = f"phase == STEPPING && !sent && at == {at}"
        inside = f"(phase == STEPPING || phase == ORPHANED) && sent && at == {at}"
        heard = f"phase == STEPPING && sent && at == {at}"
        unheard = f"budget--; {_LOOK}" + (" again = true;" if self._deletes else "")
        yield f"  /* {at}: {instruction.name} */"
        yield f"  :: atomic {{ {idle} -> sent = true; done = 0; stopped = false }}"
        yield f"  :: atomic {{ {idle} && budget > 0 -> budget--; phase = LOOKING }}"
        yield f"  :: atomic {{ {idle} && budget > 0 -> {unheard} skip }}"
        for number, operation in enumerate(instruction.operations):
            yield from self._operation(inside, instruction, number, operation)
        every = (1 << len(instruction.operations)) - 1
        failed = "(failing && takeback == 0 && !(stopped && !running))"
        yield f"  :: atomic {{ {heard} && !failing && done == {every} -> at++; {_IDLE} skip }}"
        yield f"  :: atomic {{ {heard} && {failed} -> {_LOOK} skip }}"
        ended = f"((!failing && done == {every}) || {failed})"
        yield f"  :: atomic {{ {heard} && {ended} && budget > 0 -> {unheard} skip }}"
        orphaned = f"phase == ORPHANED && sent && at == {at}"
        yield f"  :: atomic {{ {orphaned} && {ended} -> {_IDLE} skip }}"
        resumes = f"{inside} && failing && takeback == 0 && stopped && !running"
        yield f"  :: atomic {{ {resumes} -> running = true; stopped = false;{self._seen()} }}"

    def _operation(
        self, inside: str, instruction: Instruction, number: int, operation: Operation
    ) -> Iterator[str]:
        bit, before = 1 << number, instruction.before[number]
        ready = f"{inside} && !failing && !(done & {bit}) && (done & {before}) == {before}"
        can, does = self._effect(instruction, operation)
        yield f"  :: atomic {{ {ready} && ({can}) -> {does} done = done | {bit};{self._seen()} }}"
        fails = f"failing = true; takeback = {self._takeback(instruction)};"
        yield f"  :: atomic {{ {ready} && !({can}) -> {fails} skip }}"
        if operation.kind in _FALLIBLE:
            spoilt = "memory = BROKEN;" if operation.kind is Kind.READ_VMSTATE else ""
            struck = f"{ready} && ({can}) && budget > 0 -> budget--; {spoilt} {fails}"
            yield f"  :: atomic {{ {struck}{self._seen()} }}"
        back = self._taken_back(operation)
        if back:
            taken = f"takeback = takeback & ~{bit};"
            later = f"(takeback >> {number + 1}) == 0" if number < _LIMIT_OPERATIONS else "true"
            guard = f"{inside} && failing && (takeback & {bit}) && {later}"
            yield f"  :: atomic {{ {guard} -> {back} {taken}{self._seen()} }}"

    def _effect(self, instruction: Instruction, operation: Operation) -> tuple[str, str]:
        disk = 1 << self._number.get(operation.disk, 0)
        match operation.kind:
            case Kind.PAUSE_GUEST:
                own = _word(instruction.stops_guest)
                return "true", f"stopped = running && {own}; running = false;"
            case Kind.RESUME_GUEST:
                return "true", "running = true;"
            case Kind.RESET_GUEST:
                return "true", "memory = FRESH;"
            case Kind.REVERT_DISK:
                return f"held & {disk}", f"saved = saved | {disk};"
            case Kind.READ_VMSTATE:
                there = _word(self._setting.vmstate >= 0)
                return f"{there} && (held & {disk}) && !running", "memory = SAVED;"
            case _:
                missing_is_right = _word(instruction.by_tag)
                return f"(held & {disk}) || {missing_is_right} || again", f"held = held & ~{disk};"

    def _takeback(self, instruction: Instruction) -> str:
        if instruction.on_failure is not OnFailure.NOTHING:
            return "0"
        kinds = (*_FALLIBLE, Kind.RESET_GUEST)
        back = sum(1 << n for n, op in enumerate(instruction.operations) if op.kind in kinds)
        reads = sum(
            1 << n for n, op in enumerate(instruction.operations) if op.kind is Kind.READ_VMSTATE
        )
        return f"((done & {back}) | (memory == BROKEN -> {reads} : 0))"

    def _taken_back(self, operation: Operation) -> str:
        disk = 1 << self._number.get(operation.disk, 0)
        match operation.kind:
            case Kind.REVERT_DISK:
                return f"saved = saved & ~{disk};"
            case Kind.DELETE_DISK_SNAPSHOT:
                return f"held = held | {disk};"
            case Kind.READ_VMSTATE | Kind.RESET_GUEST:
                return "memory = BEFORE;"
            case _:
                return ""

    def _look(self) -> Iterator[str]:
        look = "phase == LOOKING"
        if self._deletes:
            yield f"  :: atomic {{ {look} && held != 0 && again && at < K -> phase = STEPPING }}"
            yield f"  :: atomic {{ {look} && held != 0 && !(again && at < K) -> phase = ENDED }}"
            yield f"  :: atomic {{ {look} && held == 0 -> phase = DONE }}"
            return
        if self._setting.client is ClientKind.DOES_NOT_UNDO:
            yield f"  :: atomic {{ {look} -> phase = ENDED }}"
            return
        whole = "true" if self._setting.client is ClientKind.DOES_NOT_LOOK else "UNIFORM"
        ran = _word(self._setting.runs_before)
        outcome = "(saved == WHOLE && memory != BEFORE && UNIFORM -> DONE : ENDED)"
        yield f"  :: atomic {{ {look} && {whole} -> running = running || {ran}; phase = {outcome};"
        yield f"      {self._seen()} }}"
        yield f"  :: atomic {{ {look} && !({whole}) -> phase = ENDED }}"

    def _deaths(self) -> Iterator[str]:
        gone = f"budget--; dead = true; running = false; {_IDLE} phase = ENDED"
        yield f"  :: atomic {{ phase < ENDED && budget > 0 -> {gone} }}"
        death = self._setting.client_death
        if death is ClientDeath.NEVER:
            return
        yield "  :: atomic { phase < ORPHANED && budget > 0 -> budget--; phase = ORPHANED }"
        after = "ENDED" if death is ClientDeath.FOR_GOOD else "LOOKING"
        yield f"  :: atomic {{ phase == ORPHANED && !sent -> phase = {after} }}"

    def _verdict(self) -> Iterator[str]:
        deletes = any(Kind.DELETE_DISK_SNAPSHOT in i.kinds for i in self._setting.instructions)
        right = "held == 0" if self._deletes else "AFTER"
        ran = _word(self._setting.runs_before)
        load = _word(not self._deletes)
        torn = "!((saved == 0 && memory == BEFORE) || AFTER)"
        yield "  atomic {"
        yield "    bad_never_two_instants = mixed;"
        yield f"    bad_complete = (phase == DONE -> !({right}) : budget == FAULTS);"
        yield f"    bad_failure_keeps = phase != DONE && !dead && {torn};"
        before = "(saved == 0 && (dead || memory == BEFORE))"
        yield f"    bad_way_back = !({before} || (AFTER && !dead)) && held != WHOLE;"
        yield "    bad_atomic = !dead && held != 0 && held != WHOLE;"
        yield f"    bad_old_intact = held != WHOLE && {_word(not deletes)};"
        stands = f"({load} && {torn} && phase != DONE)"
        yield f"    bad_run_state_restored = !dead && running != {ran} && !{stands}"
        yield "  };"
        yield "  if"
        for word in spin_back_properties(self._setting.purpose):
            yield f"  :: assert(!(bad_{word.replace('-', '_')}))"
        yield "  fi"
