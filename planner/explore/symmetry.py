"""Disks that are alike: of the states that differ only in which is which, one is looked at.

Two disks are alike if exchanging them changes nothing: the same image before the run, neither holds
the machine state, and every instruction treats both alike, in what it does and in what order.  So in
a list of disks that a command works off in order, no two are alike; in a transaction without a
promised order, all that hold no machine state are.

Theory: exchanges of alike disks are automorphisms of the whole transition system, so a violation is
reachable from a state exactly if it is from the representative, in as many moves.
"""

from __future__ import annotations

from collections.abc import Iterable

from planner.explore.state import ExternalState, React, Setting, State
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
        self.classes = self._find_classes()

    def _operations(self, at: int, disk: int) -> tuple[int, ...]:
        operations = self._setting.instructions[at].operations
        mine = [n for n, where in enumerate(self._disk_of[at]) if where == disk]
        return tuple(sorted(mine, key=lambda n: (operations[n].kind, operations[n].detail)))

    def _find_classes(self) -> tuple[tuple[int, ...], ...]:
        classes: list[list[int]] = []
        for disk in range(len(self._setting.disks)):
            home = next((c for c in classes if self._alike(c[0], disk)), None)
            if home is None:
                classes.append([disk])
            else:
                home.append(disk)
        return tuple(tuple(found) for found in classes if len(found) > 1)

    def _alike(self, one: int, other: int) -> bool:
        setting = self._setting
        if setting.vmstate in (one, other) or setting.images[one] != setting.images[other]:
            return False
        for of_kind in (setting.overlays, setting.copies):
            if of_kind >> one & 1 != of_kind >> other & 1:
                return False
        if setting.copies >> one & 1:
            return False  # each copy's file is made, and waited for, by commands of its own
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
            _exchanged(mask, exchange) == instruction.before[exchange.get(number, number)]
            for number, mask in enumerate(instruction.before)
        )

    def canonical(self, state: State) -> State:
        """The representative of the states that differ from this one by an exchange."""
        target: dict[int, int] = {}
        queued = _by_disk((self._queued_disk(state, e), n) for n, e in enumerate(state.queue))
        skipped = _by_disk(state.skipped)
        for members in self.classes:
            keys = sorted(
                ((*self._key(state, disk), skipped.get(disk, ()), queued.get(disk, ())), disk)
                for disk in members
            )
            target.update({disk: place for (_, disk), place in zip(keys, members, strict=True)})
        if all(disk == place for disk, place in target.items()):
            return state
        return self._moved(state, target)

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
        layers = list(state.layers)
        for disk, place in target.items():
            layers[place] = state.layers[disk]
        moved = state._replace(
            layers=tuple(layers),
            clean=_exchanged(state.clean, target),
            left=_exchanged(state.left, target),
            foreign=_exchanged(state.foreign, target),
            skipped=tuple(sorted((target.get(d, d), v) for d, v in state.skipped)),
            outside=_outside_exchanged(state.outside, target),
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
        return moved._replace(done=_exchanged(state.done, numbers), queue=queue)


def _by_disk(pairs: Iterable[tuple[int, int]]) -> dict[int, tuple[int, ...]]:
    """What goes with each disk, in its order."""
    found: dict[int, tuple[int, ...]] = {}
    for disk, what in pairs:
        found[disk] = (*found.get(disk, ()), what)
    return found


def _outside_exchanged(outside: ExternalState, target: dict[int, int]) -> ExternalState:
    if not outside.frozen:
        return outside
    frozen = list(outside.frozen)
    for disk, place in target.items():
        frozen[place] = outside.frozen[disk]
    return outside._replace(
        frozen=tuple(frozen),
        added=_exchanged(outside.added, target),
        files=_exchanged(outside.files, target),
    )


def _exchanged(mask: int, target: dict[int, int]) -> int:
    moved = 0
    number = 0
    while mask:
        if mask & 1:
            moved |= 1 << target.get(number, number)
        mask >>= 1
        number += 1
    return moved
