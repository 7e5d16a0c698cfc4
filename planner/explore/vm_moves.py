"""What the VM does: the guest works, QEMU does an instruction's operations, one of them fails.

The guest, whenever it runs, may change its memory and write to any disk that no transaction has
drained (fact 24).  Its work is a new instant only if something was captured at the present one:
otherwise the story is the same with other numbers.  Unless asked otherwise (`each_write`), the guest
works at most once after the first capture, and writes every disk that it can.  That is enough: two
parts differ because of one piece of work between them, which wrote both; without all other work, and
with more writes in this one, they still do.  The tests compare both.

Rules: pure; a move gives a new state.  What an operation does to an image is asked of `Layers`, that
is, of the semantics.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.explore.copies import COPY_KINDS, CopiesVm
from planner.explore.freezing import FREEZING_KINDS, captured, frozen_or_thawed
from planner.explore.instruction import (
    Instruction,
    OnExistingTag,
    OnFailure,
    VmstateIn,
    VmstateOf,
)
from planner.explore.layers import Layers, own_parts
from planner.explore.outside import EXTERNAL_KINDS, STREAM_KINDS, OutsideVm, replaced_in
from planner.explore.state import Act, Action, ClientPhase, React, Setting, State
from planner.model.operations import Kind

__all__ = ["Move", "VmMoves", "bits"]

Move = tuple[Action, State]

_INTERNAL = frozenset({Kind.WRITE_VMSTATE, Kind.SNAPSHOT_DISK})
_ELSEWHERE = EXTERNAL_KINDS | COPY_KINDS | FREEZING_KINDS
_CAN_FAIL = _INTERNAL | _ELSEWHERE
_TAKEN_BACK = _INTERNAL | {Kind.SWITCH_TO_OVERLAY, Kind.BEGIN_COPY}
_DRAINED = frozenset({Kind.SNAPSHOT_DISK, Kind.SWITCH_TO_OVERLAY, Kind.BEGIN_COPY})
_PARTIAL = -1


def bits(mask: int) -> Iterator[int]:
    """The numbers of the bits that are set."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class VmMoves:
    """The VM's moves in one setting."""

    def __init__(self, setting: Setting, layers: Layers, *, each_write: bool = False) -> None:
        self.setting = setting
        self.layers = layers
        self._each_write = each_write
        self.outside = OutsideVm(setting, layers)
        self.copies = CopiesVm(setting, layers)
        numbers = {name: number for number, name in enumerate(setting.disks)}
        self.disk_of = tuple(
            tuple(numbers.get(op.disk, -1) for op in instruction.operations)
            for instruction in setting.instructions
        )
        self.snapshots = tuple(
            tuple(  # what goes with its node and its file is no part that undo deletes by id
                numbers[disk]
                for disk in instruction.disks(Kind.SNAPSHOT_DISK)
                if numbers[disk] != setting.own
            )
            for instruction in setting.instructions
        )
        self._holds_pause = any(i.vmstate_of is VmstateOf.PAUSE for i in setting.instructions)

    # --- the guest and other clients --------------------------------------------------------------

    def guest(self, state: State) -> Iterator[Move]:
        """The guest works."""
        if (
            not (state.running and state.captured)
            or state.dead
            or state.phase not in (ClientPhase.STEPPING, ClientPhase.ORPHANED)
        ):
            return
        if state.version > 1 and not self._each_write:
            return
        drained = self._drained(state)
        free = 0 if state.frozen else self.setting.written & ~drained
        written = [free]
        if self._each_write:
            written = [mask for mask in range(free + 1) if mask & ~free == 0]
        for mask in written:
            yield Action(Act.GUEST, mask), self._after_work(state, mask)

    def _after_work(self, state: State, mask: int) -> State:
        version = state.version + 1
        layers = list(state.layers)
        for disk in bits(mask):
            layers[disk] = self.layers.written(layers[disk], version)
        missed = tuple((disk, version) for disk in bits(self.setting.whole & ~mask))
        return state._replace(
            layers=tuple(layers),
            version=version,
            captured=False,
            skipped=state.skipped + missed,
        )

    def _drained(self, state: State) -> int:
        if not (state.sent and self.setting.instructions[state.at].atomic):
            return 0
        operations = self.setting.instructions[state.at].operations
        mask = 0
        for number in bits(state.done):
            if operations[number].kind in _DRAINED:
                mask |= 1 << self.disk_of[state.at][number]
        return mask

    def streaming(self, state: State) -> Iterator[Move]:
        """Write tracking of a background stream that nobody waited for comes on."""
        if self.outside.tracks_late(state):
            yield Action(Act.TRACK), self.outside.track(state)

    def going_on(self, state: State) -> Iterator[Move]:
        """A stream that nobody waits for any more goes on while the client undoes."""
        after = self.outside.goes_on(state)
        if after is not None:
            yield Action(Act.GO_ON), after
        yield from self.copies.strikes(state)

    def foreign(self, state: State) -> Iterator[Move]:
        """Another QMP client acts; it can only while no instruction is under way."""
        if not self.setting.other_clients or state.sent or not state.budget:
            return
        less = state._replace(budget=state.budget - 1)
        if not state.running and self.setting.runs_before:
            yield (
                Action(Act.FOREIGN_RESUME),
                self.outside.resume(less)._replace(woken=state.woken or state.holds),
            )
        for disk in range(len(self.setting.of_guest)):
            if not self.layers.holds_tag(state.layers[disk]):
                taken = self.layers.snapshotted(
                    state.layers[disk], state.version, 2 * state.at + 1, 0
                )
                yield (
                    Action(Act.FOREIGN_TAG, disk),
                    less._replace(
                        layers=replaced_in(state.layers, disk, taken),
                        foreign=state.foreign | 1 << disk,
                    ),
                )

    # --- an instruction ---------------------------------------------------------------------------

    def begin(self, state: State) -> State:
        """QEMU takes the instruction in hand: what it does about the tag comes first."""
        instruction = self.setting.instructions[state.at]
        begun = self.outside.effect(state, instruction)._replace(sent=True, done=0, stopped=False)
        begun = self.copies.effect(begun, instruction.effect, instruction.effect_disk)
        holding = [d for d in self.snapshots[state.at] if self.layers.holds_tag(state.layers[d])]
        if not holding:
            return begun
        match instruction.existing_tag:
            case OnExistingTag.REFUSE:
                return begun._replace(failing=True)
            case OnExistingTag.REFUSE_IF_ALL:
                return begun._replace(failing=len(holding) == len(self.snapshots[state.at]))
            case OnExistingTag.OVERWRITE:
                layers = list(state.layers)
                for disk in holding:
                    layers[disk] = self.layers.without_first(layers[disk])
                return begun._replace(layers=tuple(layers))

    def enabled(self, state: State) -> list[int]:
        """The operations of the instruction in hand that may be next."""
        instruction = self.setting.instructions[state.at]
        if STREAM_KINDS & instruction.kinds and self.outside.tracks_late(state):
            return []  # a stream ends once it has begun in earnest
        return [
            number
            for number, before in enumerate(instruction.before)
            if not state.done >> number & 1 and before & ~state.done == 0
        ]

    def all_done(self, state: State) -> bool:
        """Whether every operation of the instruction in hand is done."""
        return state.done == (1 << len(self.setting.instructions[state.at].operations)) - 1

    def operate(self, state: State, number: int) -> Move:
        """One operation is done; a write into a snapshot that is not there fails instead."""
        instruction = self.setting.instructions[state.at]
        kind = instruction.operations[number].kind
        after = captured(self.setting, state._replace(done=state.done | 1 << number), kind)
        disk = self.disk_of[state.at][number]
        action = Action(Act.OPERATE, state.at, number)
        if kind in _ELSEWHERE:
            done = self._elsewhere(after, instruction, kind, disk)
            if done is None and kind is Kind.END_STREAM_VMSTATE:
                state = self.outside.broken(state)  # also the one that should end (fact 114)
            return action, self._fail(state) if done is None else done
        if kind in _INTERNAL and state.outside.inactive:
            return action, self._fail(state)  # "does not support internal snapshots" (fact 29)
        if kind in _INTERNAL and not self.outside.is_there(state, disk):
            return action, self._fail(state)
        match kind:
            case Kind.PAUSE_GUEST:
                return action, self._pause(after, instruction)
            case Kind.RESUME_GUEST:
                return action, self.outside.resume(after)
            case Kind.WRITE_VMSTATE:
                return action, self._write(state, after, disk)
            case Kind.SNAPSHOT_DISK:
                return action, self._snapshot(after, instruction, disk)
            case Kind.DISCARD_VMSTATE:
                new = self.layers.discarded(state.layers[disk])
                return action, after._replace(layers=replaced_in(state.layers, disk, new))
            case _:
                detail = instruction.operations[number].detail
                new = self.layers.without(state.layers[disk], detail)
                return action, after._replace(layers=replaced_in(state.layers, disk, new))

    def _elsewhere(
        self, state: State, instruction: Instruction, kind: Kind, disk: int
    ) -> State | None:
        """An operation on something else than an image and the guest; None: it fails."""
        if kind in FREEZING_KINDS:
            return frozen_or_thawed(state, kind)
        if kind in COPY_KINDS:
            return self.copies.operate(state, kind, disk)
        return self.outside.operate(state, instruction, kind, disk)

    def _pause(self, state: State, instruction: Instruction) -> State:
        return self.outside.pause(state)._replace(
            running=False,
            held=state.version if self._holds_pause else 0,
            captured=state.captured or self._holds_pause,
            stopped=state.running and instruction.stops_guest,
        )

    def _write(self, state: State, after: State, disk: int) -> State:
        instruction = self.setting.instructions[state.at]
        tracked = instruction.vmstate_of is VmstateOf.PAUSE
        instant = state.held if tracked else state.version
        new = self._written(state, disk, instant)
        if new is None:
            return self._fail(state)
        return after._replace(layers=replaced_in(state.layers, disk, new), captured=True)

    def _written(self, state: State, disk: int, instant: int) -> int | None:
        if self.setting.instructions[state.at].vmstate_in is VmstateIn.SNAPSHOT:
            return self.layers.with_vmstate_in_snapshot(state.layers[disk], instant)
        return self.layers.with_vmstate(state.layers[disk], instant)

    def _snapshot(self, state: State, instruction: Instruction, disk: int) -> State:
        # The header's size is what was written so far; a discard since then does not change it.
        wrote = any(
            instruction.operations[number].kind is Kind.WRITE_VMSTATE
            and self.disk_of[state.at][number] == disk
            for number in bits(state.done)
        )
        holds = self.layers[state.layers[disk]].vmstate is not None
        new = self.layers.snapshotted(
            state.layers[disk], state.version, 2 * state.at + 2, int(wrote or holds)
        )
        return state._replace(layers=replaced_in(state.layers, disk, new), captured=True)

    # --- failures ---------------------------------------------------------------------------------

    def failures(self, state: State) -> Iterator[Move]:
        """A write error strikes an operation."""
        instruction = self.setting.instructions[state.at]
        for number in self.enabled(state):
            kind = instruction.operations[number].kind
            if kind not in _CAN_FAIL:
                continue
            struck = state._replace(budget=state.budget - 1)
            if kind in STREAM_KINDS:
                struck = self._stream_struck(struck)
            if kind is Kind.END_COPY:
                struck = self.copies.failed(struck, self.disk_of[state.at][number])
            if kind is Kind.WRITE_VMSTATE:
                disk = self.disk_of[state.at][number]
                new = self._written(state, disk, _PARTIAL)
                if new is not None:
                    struck = struck._replace(layers=replaced_in(state.layers, disk, new))
            yield Action(Act.FAIL, state.at, number), self._fail(struck)

    def _stream_struck(self, state: State) -> State:
        begun = state.outside._replace(files=state.outside.files | 1 << self.setting.stream_file)
        return self.outside.broken(state._replace(outside=begun))

    def _fail(self, state: State) -> State:
        instruction = self.setting.instructions[state.at]
        queue: list[tuple[int, int]] = []
        if instruction.on_failure is OnFailure.NOTHING:
            # what was attempted may be there in part, so a rollback takes every write back
            numbers = [n for n in range(len(instruction.operations)) if state.done >> n & 1]
            numbers += [
                n
                for n, op in enumerate(instruction.operations)
                if op.kind is Kind.WRITE_VMSTATE and not state.done >> n & 1
            ]
            queue = [(React.ABORT, n) for n in reversed(numbers) if self._can_abort(state.at, n)]
        elif instruction.on_failure is OnFailure.CLEANED_UP and self._has_snapshots(state):
            queue = [(React.CLEAN, disk) for disk in self.snapshots[state.at]]
        if state.stopped and not state.running:
            queue.append((React.RESUME, 0))
        return state._replace(failing=True, queue=tuple(queue))

    def _can_abort(self, at: int, number: int) -> bool:
        return self.setting.instructions[at].operations[number].kind in _TAKEN_BACK

    def _has_snapshots(self, state: State) -> bool:
        # QEMU cleans up after a snapshot that could not be created, not after a failed write
        # (`_abort_create` of the semantics): then there is nothing to clean up.
        instruction = self.setting.instructions[state.at]
        wrote = all(
            state.done >> number & 1
            for number, op in enumerate(instruction.operations)
            if op.kind is Kind.WRITE_VMSTATE
        )
        return wrote and bool(self.snapshots[state.at])

    def react(self, state: State) -> Move:
        """QEMU does the next thing about the failure."""
        (kind, number), rest = state.queue[0], state.queue[1:]
        after = state._replace(queue=rest)
        action = Action(Act.REACT, kind, number)
        if kind == React.RESUME:
            return action, after._replace(running=True, stopped=False)
        disk = number if kind == React.CLEAN else self.disk_of[state.at][number]
        operations = self.setting.instructions[state.at].operations
        if kind == React.ABORT and operations[number].kind is Kind.SWITCH_TO_OVERLAY:
            return action, self.outside.off(after, disk)
        if kind == React.ABORT and operations[number].kind is Kind.BEGIN_COPY:
            return action, self.copies.withdrawn(after, disk)
        if kind == React.CLEAN:
            new = self.layers.without_first(state.layers[disk])
        else:
            new = self._aborted(state, number, disk)
        return action, after._replace(layers=replaced_in(state.layers, disk, new))

    def _aborted(self, state: State, number: int, disk: int) -> int:
        layer = state.layers[disk]
        if self.setting.instructions[state.at].operations[number].kind is Kind.WRITE_VMSTATE:
            return self.layers.discarded(layer)
        date = 2 * state.at + 2
        made = [part for part in own_parts(self.layers[layer]) if part.date_ns == date]
        return self.layers.without(layer, made[-1].id) if made else layer
