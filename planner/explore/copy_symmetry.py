"""Copies that one transaction begins: which are alike, though each has commands of its own afterwards.

Each copy's file is made, waited for and closed by a command of its own, in order, so copies are not
alike as other disks are.  But these commands ask for nodes, jobs and files, never for what a disk or its
copy holds; and while they are sent, nodes, jobs and files do not depend on which copy began first.  So
what the disks and their copies hold may be exchanged at any time, and while the transaction works, what
of it is done as well.

Theory: such an exchange is a bisimulation of the transition system, so a violation is reachable from a
state exactly if it is from the representative, in as many moves.  The order in which a failed
transaction takes jobs back is the only thing that it does not keep, and nothing can be seen of that:
they commute.  The tests hold this against the search without it, on up to five disks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from planner.explore.exchanges import Classes, by_disk, classes_of, exchanged, placed, targets
from planner.explore.instruction import Completion, CopyOf, OnFailure
from planner.explore.state import Setting, State
from planner.model.operations import Kind

__all__ = ["copies_alike", "exchanged_contents"]

_OF_A_NODE = frozenset({Kind.ADD_TARGET, Kind.END_COPY})


def copies_alike(setting: Setting, alike_in: Callable[[int, int, int], bool]) -> dict[int, Classes]:
    """By the number of a transaction, the copies that it begins and that are alike.

    Where a copy is of its end, contents are read by a command of each; and where one can fail by itself
    and spoil the guest's writes, the undo ends the jobs in order: then none are alike.

    Args:
        setting: What is explored.
        alike_in: Whether an instruction treats two disks alike.
    """
    at_end = any(each.copy_of is CopyOf.END for each in setting.instructions)
    grouped = any(each.completion is Completion.GROUPED for each in setting.instructions)
    if at_end or not (grouped or setting.spares_guest):
        return {}

    found = {
        at: _begun_alike(setting, at, alike_in)
        for at, instruction in enumerate(setting.instructions)
        if instruction.on_failure is OnFailure.NOTHING
    }
    return {at: classes for at, classes in found.items() if classes}


def _begun_alike(setting: Setting, at: int, alike_in: Callable[[int, int, int], bool]) -> Classes:
    def alike(one: int, other: int) -> bool:
        same = setting.images[one] == setting.images[other]
        same = same and _before(setting, at, one) == _before(setting, at, other)
        return same and alike_in(at, one, other)

    return classes_of(_begun_here(setting, at), alike)


def _begun_here(setting: Setting, at: int) -> Iterator[int]:
    """The copies that an instruction begins, where no other instruction reads what the disk holds."""
    replaced = {disk for disk, _ in setting.replaced}
    for name in setting.instructions[at].disks(Kind.BEGIN_COPY):
        disk = setting.disks.index(name)
        here, elsewhere = Counter(_kinds(setting, at, name)), set()
        for number in range(len(setting.instructions)):
            elsewhere |= set() if number == at else {*_kinds(setting, number, name)}
        if here == {Kind.BEGIN_COPY: 1} and elsewhere <= _OF_A_NODE and disk not in replaced:
            yield disk


def _kinds(setting: Setting, at: int, name: str) -> list[Kind]:
    return [each.kind for each in setting.instructions[at].operations if each.disk == name]


def _before(setting: Setting, at: int, disk: int) -> Counter[str]:
    """What earlier instructions do to a copy's node and file: done when the transaction begins."""
    name, earlier = setting.disks[disk], setting.instructions[:at]
    kinds = [kind.value for number in range(at) for kind in _kinds(setting, number, name)]
    return Counter([*kinds, *(each.effect.value for each in earlier if each.effect_disk == name)])


def exchanged_contents(state: State, classes: Classes) -> State:
    """The representative of the states that differ only in which disk, and its copy, holds what."""
    skipped = by_disk(state.skipped)

    def key(disk: int) -> object:
        holds = state.layers[disk], state.copy.of[disk]
        return *holds, state.foreign >> disk & 1, skipped.get(disk, ())

    target = targets(classes, key)
    if not target:
        return state
    return state._replace(
        layers=placed(state.layers, target),
        foreign=exchanged(state.foreign, target),
        skipped=tuple(sorted((target.get(d, d), v) for d, v in state.skipped)),
        copy=state.copy._replace(of=placed(state.copy.of, target)),
    )
