"""Copies of disks in one setting: what QEMU does to them, and how the client undoes them.

A copy begins in the pause and ends after it, the guest running: it is of the instant of its beginning,
since QEMU copies first what the guest overwrites (fact 111).  Until it has ended nobody is let at its
node (fact 112).  Where it cannot be written, a QEMU that does not spare the guest fails the guest's own
write: the guest stands, or is told of the error (fact 113).

The undo is that of `planner.save.undo_copies`: the job ends first, then the node goes, before anything
else is touched; the file goes last, with the others.

Rules: pure; a function gives a new state, or None where QEMU says no.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.explore.instruction import Completion, CopyOf, SideEffect
from planner.explore.layers import Layers
from planner.explore.outside import replaced_in
from planner.explore.state import (
    Act,
    Action,
    ClientPhase,
    CopyState,
    ExternalState,
    Setting,
    State,
)
from planner.model.operations import Kind

__all__ = ["COPY_KINDS", "CopiesVm", "died"]

COPY_KINDS = frozenset({Kind.ADD_TARGET, Kind.BEGIN_COPY, Kind.END_COPY})

Move = tuple[Action, State]


def died(copy: CopyState) -> CopyState:
    """QEMU is gone, and its jobs and nodes with it."""
    return copy._replace(targets=0, jobs=0, broken=0, stopped=False)


class CopiesVm:
    """Copies of disks in one setting."""

    def __init__(self, setting: Setting, layers: Layers) -> None:
        self._setting = setting
        self._layers = layers
        self._numbers = {name: number for number, name in enumerate(setting.disks)}
        self._at_end = any(i.copy_of is CopyOf.END for i in setting.instructions)
        self._grouped = any(i.completion is Completion.GROUPED for i in setting.instructions)

    def start(self) -> CopyState:
        """What there is before the run."""
        return CopyState(of=(0,) * len(self._setting.disks) if self._setting.copies else ())

    # --- QEMU ---------------------------------------------------------------------------------------

    def operate(self, state: State, kind: Kind, disk: int) -> State | None:
        """Do an operation on a copy; None: QEMU refuses it."""
        match kind:
            case Kind.ADD_TARGET:
                targets = state.copy.targets | 1 << disk
                added = self._made(state, disk, standing=_stands(self._setting, state))
                return added._replace(copy=state.copy._replace(targets=targets))
            case Kind.BEGIN_COPY:
                return self._begin(state, disk)
            case _:
                return self._end(state, disk)

    def _made(self, state: State, disk: int, *, standing: bool) -> State:
        outside = state.outside
        files, slow = outside.files | 1 << disk, outside.slow or standing
        return state._replace(outside=outside._replace(files=files, slow=slow))

    def _begin(self, state: State, disk: int) -> State | None:
        copy, bit = state.copy, 1 << disk
        if not copy.targets & bit or copy.jobs & bit or state.outside.inactive:
            return None
        begun = copy._replace(jobs=copy.jobs | bit, of=self._of(state, disk))
        return state._replace(copy=begun, captured=True)

    def _of(self, state: State, disk: int) -> tuple[int, ...]:
        return replaced_in(state.copy.of, disk, self._layers[state.layers[disk]].content)

    def _end(self, state: State, disk: int) -> State | None:
        copy, bit = state.copy, 1 << disk
        waited = _stands(self._setting, state) and self._setting.runs_after
        outside: ExternalState = state.outside
        seen = state._replace(outside=outside._replace(slow=outside.slow or waited))
        if self._grouped and copy.whole & bit:
            return seen  # it has ended with the others
        if not copy.jobs & bit or copy.broken:  # whoever waits for one copy sees the others fail
            return None
        ending = copy.jobs if self._grouped else bit
        whole = copy._replace(jobs=copy.jobs & ~ending, whole=copy.whole | ending)
        if self._at_end:
            whole = whole._replace(of=self._of(state, disk))
        return seen._replace(copy=whole, captured=state.captured or self._at_end)

    def withdrawn(self, state: State, disk: int) -> State:
        """A rolled-back transaction takes the job back; the disk was drained meanwhile."""
        copy, bit = state.copy, 1 << disk
        of = replaced_in(copy.of, disk, 0)
        return state._replace(copy=copy._replace(jobs=copy.jobs & ~bit, of=of))

    def failed(self, state: State, disk: int) -> State:
        """The job cannot write, and ends with an error."""
        copy, bit = state.copy, 1 << disk
        if not copy.jobs & bit:
            return state
        struck = copy.jobs if self._grouped else bit
        return state._replace(copy=copy._replace(broken=copy.broken | struck))

    def strikes(self, state: State) -> Iterator[Move]:
        """The copy of what the guest overwrites cannot be written; where it is spared, see `failed`."""
        working = state.copy.jobs & ~state.copy.broken
        if not (working and state.budget and state.running) or self._setting.spares_guest:
            return
        for disk in range(len(self._setting.disks)):
            if working >> disk & 1:
                less = self.failed(state, disk)._replace(budget=state.budget - 1)
                stopped = less._replace(running=False, copy=less.copy._replace(stopped=True))
                yield Action(Act.COPY_STRUCK, disk, 0), stopped
                spoilt = less._replace(copy=less.copy._replace(spoilt=True))
                yield Action(Act.COPY_STRUCK, disk, 1), spoilt

    def effect(self, state: State, effect: SideEffect, name: str) -> State:
        """What an instruction does besides its operations; failing: QEMU says that the node is busy."""
        if effect is SideEffect.CREATE_COPY:
            standing = _stands(self._setting, state)
            return self._made(state, self._numbers[name], standing=standing)
        if effect is not SideEffect.REMOVE_TARGET:
            return state
        bit = 1 << self._numbers[name]
        if state.copy.jobs & bit or not state.copy.targets & bit:
            return state._replace(failing=True)
        return state._replace(copy=state.copy._replace(targets=state.copy.targets & ~bit))

    # --- the client's undo --------------------------------------------------------------------------

    def undo(self, state: State, *, one_disk: bool) -> Iterator[Move]:
        """End the jobs, then take the nodes out; nothing where none is left."""
        copy = state.copy
        jobs = copy.jobs & ~state.left if "cancel-copies" in self._setting.undo else 0
        waiting = jobs or copy.targets & ~copy.jobs & ~state.left
        disks = [disk for disk in range(len(self._setting.disks)) if waiting >> disk & 1]
        for disk in disks[-1:] if one_disk else disks:
            act = Act.CANCEL_COPY if jobs else Act.CLOSE_COPY
            yield from self._undone(state, act, disk)

    def _undone(self, state: State, act: Act, disk: int) -> Iterator[Move]:
        gone, copy = ~(1 << disk), state.copy
        if act is Act.CANCEL_COPY:
            gone = 0 if self._grouped else gone
            after = copy._replace(jobs=copy.jobs & gone, broken=copy.broken & gone)
        else:
            after = copy._replace(targets=copy.targets & gone)
        done = state._replace(copy=after)
        yield Action(act, disk), done
        if not state.budget:
            return
        less = state.budget - 1
        left = state.left | 1 << disk
        yield Action(Act.UNDO_REFUSED, act, disk), state._replace(left=left, budget=less)
        looking = ClientPhase.LOOKING
        yield Action(Act.COPY_CUT, disk, 0), state._replace(phase=looking, budget=less)
        yield Action(Act.COPY_CUT, disk, 1), done._replace(phase=looking, budget=less)


def _stands(setting: Setting, state: State) -> bool:
    return setting.runs_before and not state.running
