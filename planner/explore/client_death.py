"""The client dies: killed, out of memory, or gone with its machine.  QEMU goes on without it.

What QEMU was sent it works off, and tells nobody; what was to be sent after it is never sent, undo
included.  Then nobody comes, or somebody who knows what was begun does, as `snapplan recover` does from
the journal: a run of which every instruction was answered is finished, any other is undone.

Rules: pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.explore.client_moves import qemu_gone
from planner.explore.state import Act, Action, ClientDeath, ClientPhase, Setting, State
from planner.explore.vm_moves import Move, VmMoves

__all__ = ["Orphans"]


class Orphans:
    """What a dead client leaves, in one setting."""

    def __init__(self, setting: Setting, vm: VmMoves) -> None:
        self._setting = setting
        self._vm = vm
        self._recovered = setting.client_death is ClientDeath.RECOVERED
        self._in_stream = tuple(instruction.in_stream for instruction in setting.instructions)

    def client_dies(self, state: State) -> Iterator[Move]:
        """The client dies, whatever it was doing."""
        if self._setting.client_death is ClientDeath.NEVER or not state.budget:
            return
        if state.phase == ClientPhase.ORPHANED:
            return
        left = state._replace(
            phase=ClientPhase.ORPHANED, holds=False, woken=False, budget=state.budget - 1
        )
        yield Action(Act.CLIENT_DIES), left

    def go_on(self, state: State) -> Iterator[Move]:
        """QEMU is done with what it was sent; then the end, or somebody comes."""
        if state.dead:
            yield from self._after(state)
            return
        if not state.sent:
            if self._vm.outside.goes_on(state) is None:
                yield from self._after(state)
            elif self._recovered:
                yield self._recover(state)
            return
        if not state.queue and (state.failing or self._vm.all_done(state)):
            yield Action(Act.SETTLE, state.at), _settled(state)
        elif self._recovered and state.done & self._in_stream[state.at]:
            yield self._recover(_settled(state))

    def qemu_dies(self, state: State) -> Iterator[Move]:
        """QEMU dies after its client."""
        if state.budget and not state.dead:
            gone = qemu_gone(state)
            yield Action(Act.DIE), gone._replace(phase=ClientPhase.ORPHANED)

    def _after(self, state: State) -> Iterator[Move]:
        if self._recovered:
            yield self._recover(state)
        else:
            yield Action(Act.END), state._replace(phase=ClientPhase.ABANDONED)

    def _recover(self, state: State) -> Move:
        all_answered = state.at == len(self._setting.instructions)
        phase = ClientPhase.STEPPING if all_answered else ClientPhase.LOOKING
        if state.dead:
            phase = ClientPhase.OFFLINE
        return Action(Act.RECOVER), state._replace(phase=phase, captured=False)


def _settled(state: State) -> State:
    return state._replace(sent=False, done=0, failing=False, stopped=False, queue=())
