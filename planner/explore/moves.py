"""All that can happen in a state: the VM's moves, the client's, and what strikes.

Partial order: operations on different disks commute while the guest stands still, so where a disk has
only operations left that wait for no other disk, exploring those first is enough.  What strikes an
operation is kept for all that could be next: it is what does not commute.  In undo, deletions on
different disks commute too, and one order is explored.  The tests hold this against the search that
takes every order (same verdicts, same length of the shortest counterexample).
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from planner.explore.client_death import Orphans
from planner.explore.client_moves import ClientMoves
from planner.explore.layers import Layers
from planner.explore.standing import with_limits
from planner.explore.state import Attempt, ClientPhase, Setting, State
from planner.explore.vm_moves import Move, VmMoves

__all__ = ["Moves", "Reductions"]


@frozen
class Reductions:
    """What keeps a search small; each can be turned off.

    Attributes:
        symmetry: Take alike disks for one.
        forgetting: Forget what nothing asks for any more.
        partial_order: Take one order of what commutes.
        hashed: Remember a state by its 64-bit hash, not whole: two different states are taken for
            one with a chance of about n² / 2⁶⁵ among n states.
        eager_guest: The guest works once at most, and writes all disks then.
    """

    symmetry: bool = True
    forgetting: bool = True
    partial_order: bool = True
    hashed: bool = True
    eager_guest: bool = True

    @classmethod
    def none(cls) -> Reductions:
        """The search that leaves nothing out."""
        return cls(
            symmetry=False, forgetting=False, partial_order=False, hashed=False, eager_guest=False
        )


class Moves:
    """The moves of one setting."""

    def __init__(
        self,
        setting: Setting,
        reductions: Reductions | None = None,
        layers: Layers | None = None,
    ) -> None:
        self.setting = setting
        reductions = reductions or Reductions()
        self.layers = layers or Layers()
        self.vm = VmMoves(setting, self.layers, each_write=not reductions.eager_guest)
        self.client = ClientMoves(setting, self.vm)
        self.orphans = Orphans(setting, self.vm)
        self._limited = bool(setting.limits.asked)
        self._one_disk = reductions.partial_order

    def start(self) -> State:
        """The state before the run."""
        return State(
            layers=tuple(self.layers.number(image) for image in self.setting.images),
            version=1,
            captured=False,
            skipped=(),
            running=self.setting.runs_before,
            held=0,
            phase=ClientPhase.STEPPING,
            at=0,
            sent=False,
            done=0,
            failing=False,
            stopped=False,
            queue=(),
            attempts=(Attempt.NOT_SENT,) * len(self.setting.instructions),
            clean=0,
            left=0,
            left_paused=False,
            dead=0,
            sent_stop=False,
            sent_cont=False,
            holds=False,
            woken=False,
            foreign=0,
            budget=self.setting.faults,
            outside=self.vm.outside.start(),
            copy=self.vm.copies.start(),
        )

    def of(self, state: State) -> Iterator[Move]:
        """All moves from a state, in a fixed order."""
        if state.phase >= ClientPhase.DONE:
            return
        yield from self.orphans.client_dies(state)
        if state.phase == ClientPhase.STEPPING:
            yield from self._stepping(state)
        elif state.phase == ClientPhase.ORPHANED:
            yield from self._orphaned(state)
            yield from self.orphans.qemu_dies(state)
            return
        elif state.phase == ClientPhase.LOOKING:
            yield self.client.look(state)
            yield from self.vm.going_on(state)
        elif state.phase == ClientPhase.UNDOING:
            yield from self.client.undo(state, one_disk=self._one_disk)
            yield from self.vm.going_on(state)
        else:
            yield from self.client.repair(state, one_disk=self._one_disk)
            return
        yield from self.client.die(state)

    def _stepping(self, state: State) -> Iterator[Move]:
        if not state.sent:
            yield from self.client.next_command(state)
            yield from self.vm.foreign(state)
        elif state.queue:
            yield self.vm.react(state)
        elif state.failing:
            yield from self.client.answered(state)
        else:
            yield from self._inside(state)
            yield from self.client.cut_inside(state)
        yield from self.vm.streaming(state)
        yield from self.vm.copies.strikes(state)
        yield from self.vm.guest(state)

    def _orphaned(self, state: State) -> Iterator[Move]:
        yield from self.orphans.go_on(state)
        if state.dead:
            return
        if state.queue:
            yield self.vm.react(state)
        elif state.sent and not state.failing:
            yield from self._operations(state)
        if state.sent:
            yield from self.vm.streaming(state)
            yield from self.vm.copies.strikes(state)
        else:
            yield from self.vm.going_on(state)
        yield from self.vm.guest(state)

    def _inside(self, state: State) -> Iterator[Move]:
        if self.vm.all_done(state):
            yield from self.client.answered(state)
        else:
            yield from self._operations(state)

    def _operations(self, state: State) -> Iterator[Move]:
        enabled = self.vm.enabled(state)
        for number in self._enough(state, enabled):
            yield self._operated(state, number)
        if state.budget:
            yield from self.vm.failures(state)

    def _operated(self, state: State, number: int) -> Move:
        action, after = self.vm.operate(state, number)
        if not self._limited:
            return action, after
        kind = self.setting.instructions[state.at].operations[number].kind
        return action, with_limits(self.setting, state, after, kind)

    def _enough(self, state: State, enabled: list[int]) -> list[int]:
        """The operations to explore: those of one disk where they commute with all others."""
        if not self._one_disk or state.running or len(enabled) == 1:
            return enabled
        where = self.vm.disk_of[state.at]
        if any(where[number] < 0 for number in enabled):
            return enabled
        instruction = self.setting.instructions[state.at]
        waiting = [n for n in range(len(where)) if not state.done >> n & 1]
        # the vmstate's disk first: what is half done there is what a fault elsewhere can leave
        disks = {where[number] for number in enabled}
        first = self.setting.vmstate
        for disk in [first] if first in disks and state.budget else sorted(disks):
            mine = [n for n in waiting if where[n] == disk]
            others = sum(1 << n for n in waiting if where[n] != disk)
            if all(instruction.before[n] & others == 0 for n in mine):
                return [n for n in enabled if where[n] == disk]
        return enabled
