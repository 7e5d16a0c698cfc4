"""Disks that are alike: of the states that differ only in which is which, one is looked at.

Two disks are alike if exchanging them changes nothing: the same image before the run, neither holds
the machine state, and every instruction treats both alike, in what it does and in what order.  So in
a list of disks that a command works off in order, no two are alike; in a transaction without a
promised order, all that hold no machine state are.  Of copies see `planner.explore.copy_symmetry`.

Theory: exchanges of alike disks are automorphisms of the whole transition system, so a violation is
reachable from a state exactly if it is from the representative, in as many moves.
"""

from __future__ import annotations

from planner.explore.copy_symmetry import copies_alike, exchanged_contents
from planner.explore.exchanges import Classes, by_disk, classes_of, exchanged, placed, targets
from planner.explore.state import CopyState, ExternalState, React, Setting, State
from planner.explore.vm_moves import VmMoves

__all__ = ["Symmetry"]

_Key = tuple[object, ...]


class Symmetry:
    """The alike disks of a setting."""

    def __init__(self, setting: Setting, vm: VmMoves) -> None:
        self._setting = setting
        self._disk_of = vm.disk_of
        # by instruction and disk, the numbers of its operations there, kind by kind
        self._places = tuple(
            tuple(self._operations(at, disk) for disk in range(len(setting.disks)))
            for at in range(len(setting.instructions))
        )
        self.classes = classes_of(range(len(setting.disks)), self._alike)
        self._copies = copies_alike(setting, self._alike_in)

    @property
    def finds_any(self) -> bool:
        """Whether any disks are alike."""
        return bool(self.classes or self._copies)

    def _operations(self, at: int, disk: int) -> tuple[int, ...]:
        operations = self._setting.instructions[at].operations
        mine = [n for n, where in enumerate(self._disk_of[at]) if where == disk]
        return tuple(sorted(mine, key=lambda n: (operations[n].kind, operations[n].detail)))

    def _alike(self, one: int, other: int) -> bool:
        setting = self._setting
        if setting.vmstate in (one, other) or setting.images[one] != setting.images[other]:
            return False
        for of_kind in (setting.overlays, setting.copies):
            if of_kind >> one & 1 != of_kind >> other & 1:
                return False
        if setting.copies >> one & 1:
            return False  # each has commands of its own, in order: see `copies_alike`
        given_up = [{i for d, i in setting.replaced if d == disk} for disk in (one, other)]
        if given_up[0] != given_up[1]:
            return False
        return all(self._alike_in(at, one, other) for at in range(len(setting.instructions)))

    def _alike_in(self, at: int, one: int, other: int) -> bool:
        instruction = self._setting.instructions[at]
        if instruction.effect_disk in (self._setting.disks[one], self._setting.disks[other]):
            return False
        mine, theirs = self._places[at][one], self._places[at][other]
        operations = instruction.operations
        if [(operations[n].kind, operations[n].detail) for n in mine] != [
            (operations[n].kind, operations[n].detail) for n in theirs
        ]:
            return False
        exchange = {**dict(zip(mine, theirs, strict=True)), **dict(zip(theirs, mine, strict=True))}
        return all(
            exchanged(mask, exchange) == instruction.before[exchange.get(number, number)]
            for number, mask in enumerate(instruction.before)
        )

    def canonical(self, state: State) -> State:
        """The representative of the states that differ from this one by an exchange."""
        state = self._of_classes(state, self.classes)
        for at, copies in self._copies.items():
            if state.sent and state.at == at:
                state = self._of_classes(state, copies)
            else:
                state = exchanged_contents(state, copies)
        return state

    def _of_classes(self, state: State, classes: Classes) -> State:
        if not classes:
            return state
        queued = by_disk((self._queued_disk(state, e), n) for n, e in enumerate(state.queue))
        skipped = by_disk(state.skipped)

        def key(disk: int) -> _Key:
            return (*self._key(state, disk), skipped.get(disk, ()), queued.get(disk, ()))

        target = targets(classes, key)
        return self._moved(state, target) if target else state

    def _key(self, state: State, disk: int) -> _Key:
        done: tuple[int, ...] = ()
        if state.sent:
            places = self._places[state.at][disk]
            done = tuple(state.done >> number & 1 for number in places)
        return (
            state.layers[disk],
            done,
            state.clean >> disk & 1,
            state.left >> disk & 1,
            state.foreign >> disk & 1,
            *self._outside_key(state, disk),
            *_copy_key(state.copy, disk),
        )

    def _outside_key(self, state: State, disk: int) -> tuple[int, ...]:
        outside = state.outside
        if not outside.frozen:
            return ()
        return outside.frozen[disk], outside.added >> disk & 1, outside.files >> disk & 1

    def _queued_disk(self, state: State, entry: tuple[int, int]) -> int:
        kind, number = entry
        if kind == React.RESUME:
            return -1
        return number if kind == React.CLEAN else self._disk_of[state.at][number]

    def _moved(self, state: State, target: dict[int, int]) -> State:
        moved = state._replace(
            layers=placed(state.layers, target),
            clean=exchanged(state.clean, target),
            left=exchanged(state.left, target),
            foreign=exchanged(state.foreign, target),
            skipped=tuple(sorted((target.get(d, d), v) for d, v in state.skipped)),
            outside=_outside_exchanged(state.outside, target),
            copy=_copy_exchanged(state.copy, target),
        )
        if not state.sent:
            return moved
        numbers = {
            number: there
            for disk, place in target.items()
            for number, there in zip(
                self._places[state.at][disk], self._places[state.at][place], strict=True
            )
        }
        queue = tuple(
            (kind, target.get(n, n) if kind == React.CLEAN else numbers.get(n, n))
            for kind, n in state.queue
        )
        return moved._replace(done=exchanged(state.done, numbers), queue=queue)


def _outside_exchanged(outside: ExternalState, target: dict[int, int]) -> ExternalState:
    if not outside.frozen:
        return outside
    return outside._replace(
        frozen=placed(outside.frozen, target),
        added=exchanged(outside.added, target),
        files=exchanged(outside.files, target),
    )


def _copy_key(copy: CopyState, disk: int) -> tuple[int, ...]:
    if not copy.of:
        return ()
    return copy.of[disk], copy.jobs >> disk & 1, copy.broken >> disk & 1


def _copy_exchanged(copy: CopyState, target: dict[int, int]) -> CopyState:
    if not copy.of:
        return copy
    return copy._replace(
        of=placed(copy.of, target),
        jobs=exchanged(copy.jobs, target),
        broken=exchanged(copy.broken, target),
    )
