"""All that can happen while a design goes back to a snapshot, or deletes one; each move with its line.

The client stops at the first thing that is not right, and looks.  Of a load: where everything is as
before, or everything as saved, it lets the guest run as it did; else the guest stays stopped, and the
client says so.  One that does not look lets it run at once.  A delete cannot be undone: the client says
what is still there, and after a lost connection sends once more what it still sees.

What exists is as the facts have it: a load reverts disk after disk and reads the machine state last,
leaves what it did when it fails, and the guest stopped (facts 18 and 20); a delete by tag takes the
first snapshot of that tag, whoever made it, and succeeds where there is none (fact 22).

Rules: pure; a move gives a line of the story and a new state.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.explore.acts import ClientDeath, ClientPhase
from planner.explore.back import BackSetting, BackState, Memory, Purpose
from planner.explore.back_words import BROKEN, cut, promise, words
from planner.explore.instruction import ClientKind, Instruction, OnFailure
from planner.explore.line import CLIENT, GUEST, OTHER, QEMU, Line
from planner.model.operations import Kind, Operation

__all__ = ["BackMoves"]

Move = tuple[Line, BackState]

_FALLIBLE = (Kind.REVERT_DISK, Kind.READ_VMSTATE, Kind.DELETE_DISK_SNAPSHOT)


class BackMoves:
    """The moves of one setting."""

    def __init__(self, setting: BackSetting) -> None:
        self.setting = setting
        self._numbers = {name: number for number, name in enumerate(setting.disks)}

    def of(self, state: BackState) -> Iterator[Move]:
        """All moves from a state, in a fixed order."""
        for line, after in self._all(state):
            yield line, self._seen_running(after)

    def _all(self, state: BackState) -> Iterator[Move]:
        if state.phase == ClientPhase.STEPPING:
            yield from self._working(state) if state.sent else self._next(state)
        elif state.phase == ClientPhase.LOOKING:
            yield from self._look(state)
        elif state.phase == ClientPhase.ORPHANED:
            yield from self._orphaned(state)
        if state.phase < ClientPhase.DONE and not state.sent and not state.dead:
            yield from self._others(state)
        if state.budget and state.phase < ClientPhase.DONE and not state.dead:
            yield from self._deaths(state)

    def _seen_running(self, state: BackState) -> BackState:
        return state._replace(mixed=state.mixed or (state.running and not self.uniform(state)))

    def uniform(self, state: BackState) -> bool:
        """Whether disks and memory are of one instant."""
        if state.saved not in (0, self.setting.whole):
            return False
        if state.memory == Memory.FRESH:
            return True
        return state.memory == (Memory.SAVED if state.saved else Memory.BEFORE)

    # --- the client -----------------------------------------------------------------------------------

    def _next(self, state: BackState) -> Iterator[Move]:
        if state.at == len(self.setting.instructions):
            text = "the run is done: the client has heard no error"
            yield Line(CLIENT, CLIENT, text, "done"), state._replace(phase=ClientPhase.DONE)
            return
        instruction = self.setting.instructions[state.at]
        name = instruction.name
        text = f"the client sends `{name}`{promise(instruction)}"
        yield Line(CLIENT, QEMU, text, name), state._replace(sent=True, done=0, stopped=False)
        if state.budget:
            struck = state._replace(budget=state.budget - 1, phase=ClientPhase.LOOKING)
            text = f"the client sends `{name}`, and QEMU refuses it before it did anything"
            yield Line(CLIENT, QEMU, text, f"{name}: refused", fault=True), struck
            text = f"the connection ends before QEMU reads `{name}`; the client cannot know that"
            yield cut(name, text), self._unheard(state)

    def _unheard(self, state: BackState) -> BackState:
        """The client does not know what became of an instruction: once, it would send it again."""
        looking = _idle(state)._replace(phase=ClientPhase.LOOKING, budget=state.budget - 1)
        again = self.setting.purpose is Purpose.DELETE and not state.again
        return looking._replace(again=True) if again else looking._replace(at=state.at)

    def _look(self, state: BackState) -> Iterator[Move]:
        if self.setting.purpose is Purpose.DELETE:
            yield self._look_at_what_is_left(state)
            return
        if self.setting.client is ClientKind.DOES_NOT_UNDO:
            text = "the client gives up, and leaves everything as it is"
            after = state._replace(phase=ClientPhase.UNDONE)
            yield Line(CLIENT, CLIENT, text, "failed"), after
            return
        naive = self.setting.client is ClientKind.DOES_NOT_LOOK
        whole = naive or self.uniform(state)
        runs = self.setting.runs_before and not state.running
        if not whole:
            text = (
                "the client finds disks or memory changed: it leaves the guest stopped, and says so"
            )
            after = state._replace(phase=ClientPhase.INCOMPLETE)
            yield Line(CLIENT, CLIENT, text, "failed, guest stopped"), after
            return
        phase = self._outcome(state)
        how = "does not look, and sends" if naive else "finds one instant, and sends"
        if runs:
            ended = state._replace(running=True, phase=phase)
            yield Line(CLIENT, QEMU, f"the client {how} `cont`", "cont"), ended
            return
        ended = state._replace(phase=phase)
        yield Line(CLIENT, CLIENT, "the client says how it ended", phase.name.lower()), ended

    def _outcome(self, state: BackState) -> ClientPhase:
        switched = state.saved == self.setting.whole and state.memory != Memory.BEFORE
        return ClientPhase.DONE if switched and self.uniform(state) else ClientPhase.UNDONE

    def _look_at_what_is_left(self, state: BackState) -> Move:
        named = self._by_tag(state)
        there = state.held | (state.namesakes & ~state.harmed if named else 0)
        if there and state.again and state.at < len(self.setting.instructions):
            text = "the client still sees snapshots of the tag, and sends once more"
            return Line(CLIENT, QEMU, text, "again"), state._replace(phase=ClientPhase.STEPPING)
        if there:
            text = "the client says which parts are still there"
            after = state._replace(phase=ClientPhase.INCOMPLETE)
            return Line(CLIENT, CLIENT, text, "failed"), after
        text = "the client sees no part any more: the run is done"
        return Line(CLIENT, CLIENT, text, "done"), state._replace(phase=ClientPhase.DONE)

    def _by_tag(self, state: BackState) -> bool:
        at = min(state.at, len(self.setting.instructions) - 1)
        return self.setting.instructions[at].by_tag

    # --- QEMU -----------------------------------------------------------------------------------------

    def _working(self, state: BackState) -> Iterator[Move]:
        instruction = self.setting.instructions[state.at]
        name = instruction.name
        if not self._idle(state, instruction):
            yield from self._goes_on(state, instruction)
            return
        if state.failing:
            failed = _idle(state)._replace(phase=ClientPhase.LOOKING)
            yield Line(QEMU, CLIENT, f"QEMU reports `{name}` failed", "error"), failed
        else:
            answered = _idle(state)._replace(at=state.at + 1)
            yield Line(QEMU, CLIENT, f"QEMU reports `{name}` done", "done"), answered
        if state.budget:
            text = f"QEMU has ended `{name}`, and the connection ends; the client cannot know that"
            yield cut(name, text), self._unheard(state)

    def _idle(self, state: BackState, instruction: Instruction) -> bool:
        """Whether QEMU is done with the instruction in hand, one way or the other."""
        if state.failing:
            return not state.takeback and not (state.stopped and not state.running)
        return state.done == (1 << len(instruction.operations)) - 1

    def _goes_on(self, state: BackState, instruction: Instruction) -> Iterator[Move]:
        if not state.failing:
            for number in self._enabled(state, instruction):
                yield from self._operate(state, instruction, number)
        elif state.takeback:
            yield self._take_back(state, instruction)
        else:
            resumed = state._replace(running=True, stopped=False)
            yield Line(QEMU, GUEST, "QEMU lets the guest run again", "resume"), resumed

    def _enabled(self, state: BackState, instruction: Instruction) -> list[int]:
        """What may be next; of what commutes and is alike, in a large request, the first."""
        free = [
            number
            for number, before in enumerate(instruction.before)
            if not state.done >> number & 1 and before & ~state.done == 0
        ]
        if len(self.setting.disks) <= _EVERY_ORDER:
            return free
        first: dict[object, int] = {}
        for number in free:
            operation = instruction.operations[number]
            alone = self._numbers.get(operation.disk, -1) == self.setting.vmstate
            first.setdefault((operation.kind, alone), number)
        return list(first.values())

    def _operate(self, state: BackState, instruction: Instruction, number: int) -> Iterator[Move]:
        operation = instruction.operations[number]
        done = self.does(state, instruction, operation)
        what = words(operation, done)
        if done is None:
            yield what, self._fail(state, instruction)
            return
        yield what, done._replace(done=state.done | 1 << number)
        if state.budget and operation.kind in _FALLIBLE:
            struck = state._replace(budget=state.budget - 1)
            if operation.kind is Kind.READ_VMSTATE:
                struck = struck._replace(memory=Memory.BROKEN)
            text = f"{BROKEN[operation.kind]} {operation.disk}"
            line = Line(QEMU, operation.disk, text, f"{operation.kind}: error", fault=True)
            yield line, self._fail(struck, instruction)

    def does(
        self, state: BackState, instruction: Instruction, operation: Operation
    ) -> BackState | None:
        """One operation; None: QEMU refuses it."""
        disk = 1 << max(self._numbers.get(operation.disk, 0), 0)
        match operation.kind:
            case Kind.PAUSE_GUEST:
                stopped = state.running and instruction.stops_guest
                return state._replace(running=False, stopped=stopped)
            case Kind.RESUME_GUEST:
                return state._replace(running=True)
            case Kind.RESET_GUEST:
                return state._replace(memory=Memory.FRESH)
            case Kind.REVERT_DISK:
                return state._replace(saved=state.saved | disk) if state.held & disk else None
            case Kind.READ_VMSTATE:
                readable = self.setting.vmstate >= 0 and state.held & disk and not state.running
                return state._replace(memory=Memory.SAVED) if readable else None
            case _:
                return self._deleted(state, disk, by_tag=instruction.by_tag)

    def _deleted(self, state: BackState, disk: int, *, by_tag: bool) -> BackState | None:
        if state.held & disk:
            return state._replace(held=state.held & ~disk)
        if not by_tag:
            return state if state.again else None  # what is gone is not sent again
        return state._replace(harmed=state.harmed | (disk & state.namesakes))

    def _fail(self, state: BackState, instruction: Instruction) -> BackState:
        takeback = 0
        if instruction.on_failure is OnFailure.NOTHING:
            taken = (*_FALLIBLE, Kind.RESET_GUEST)
            tried = [Kind.READ_VMSTATE] if state.memory == Memory.BROKEN else []
            takeback = sum(
                1 << number
                for number, operation in enumerate(instruction.operations)
                if (operation.kind in taken and state.done >> number & 1) or operation.kind in tried
            )
        return state._replace(failing=True, takeback=takeback)

    def _take_back(self, state: BackState, instruction: Instruction) -> Move:
        number = state.takeback.bit_length() - 1
        operation = instruction.operations[number]
        disk = 1 << max(self._numbers.get(operation.disk, 0), 0)
        after = state._replace(takeback=state.takeback & ~(1 << number))
        match operation.kind:
            case Kind.REVERT_DISK:
                after = after._replace(saved=after.saved & ~disk)
            case Kind.DELETE_DISK_SNAPSHOT:
                after = after._replace(held=after.held | disk)
            case _:
                after = after._replace(memory=Memory.BEFORE)
        text = f"QEMU takes {operation} back"
        return Line(QEMU, operation.disk or GUEST, text, f"take back {operation.kind}"), after

    # --- what strikes ---------------------------------------------------------------------------------

    def _others(self, state: BackState) -> Iterator[Move]:
        if not self.setting.other_clients or not state.budget:
            return
        less = state._replace(budget=state.budget - 1)
        if not state.running and self.setting.runs_before:
            text = "another QMP client sends `cont`, which QEMU accepts (fact 18)"
            yield Line(OTHER, QEMU, text, "cont", fault=True), less._replace(running=True)
        for number, name in enumerate(self.setting.disks):
            if not state.namesakes >> number & 1:
                text = f"another QMP client makes a snapshot of the very same tag on {name}"
                made = less._replace(namesakes=state.namesakes | 1 << number)
                yield Line(OTHER, name, text, "snapshot of the same tag", fault=True), made

    def _deaths(self, state: BackState) -> Iterator[Move]:
        gone = _idle(state)._replace(dead=True, running=False, budget=state.budget - 1)
        yield Line(QEMU, QEMU, "QEMU dies", "dies", fault=True), self._left_by_qemu(gone)
        if self.setting.client_death is ClientDeath.NEVER or state.phase == ClientPhase.ORPHANED:
            return
        orphaned = state._replace(phase=ClientPhase.ORPHANED, budget=state.budget - 1)
        text = "the client dies, and sends nothing more"
        yield Line(CLIENT, CLIENT, text, "dies", fault=True), orphaned

    def _left_by_qemu(self, state: BackState) -> BackState:
        orphaned = state.phase == ClientPhase.ORPHANED
        for_good = orphaned and self.setting.client_death is ClientDeath.FOR_GOOD
        phase = ClientPhase.ABANDONED if for_good else ClientPhase.INCOMPLETE
        return state._replace(phase=phase)

    def _orphaned(self, state: BackState) -> Iterator[Move]:
        if state.sent:
            instruction = self.setting.instructions[state.at]
            if not self._idle(state, instruction):
                yield from self._goes_on(state, instruction)
                return
            text = f"`{instruction.name}` has ended, and nobody hears it"
            yield Line(QEMU, QEMU, text, "nobody hears it"), _idle(state)
            return
        if self.setting.client_death is ClientDeath.FOR_GOOD:
            text = "nobody comes after it: what is there stays"
            yield (
                Line(CLIENT, CLIENT, text, "abandoned"),
                state._replace(phase=ClientPhase.ABANDONED),
            )
            return
        text = "somebody recovers, from what the client had noted"
        yield Line(CLIENT, QEMU, text, "recover"), state._replace(phase=ClientPhase.LOOKING)


_EVERY_ORDER = 4
"""With more disks, one order of what commutes is taken."""


def _idle(state: BackState) -> BackState:
    """No instruction is in hand."""
    return state._replace(sent=False, done=0, failing=False, takeback=0, stopped=False)
