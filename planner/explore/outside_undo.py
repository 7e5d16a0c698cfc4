"""How the client undoes external parts; the policy is that of `planner.save.undo_external`.

The stream ends first, and the nodes are active before anything touches them: on an inactive one QEMU
aborts (fact 35).  An overlay that is on its disk is merged into its base, since the guest may have
written to it.  Settings are put back without a stream only (fact 34), files go last.  Where QEMU is
gone, overlays are merged and files removed without it.

Rules: pure; each step of undo can be left out, and then the tests find what goes wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.explore.copies import died
from planner.explore.layers import Layers
from planner.explore.outside import OutsideVm, replaced_in
from planner.explore.state import KILLED, Act, Action, ClientPhase, Setting, State, StreamPlace
from planner.semantics import Qcow2Image

__all__ = ["OutsideUndo", "killed"]

Move = tuple[Action, State]


def killed(state: State) -> State:
    """QEMU aborts at what the client sent."""
    copy = died(state.copy)
    return state._replace(
        phase=ClientPhase.OFFLINE, dead=KILLED, running=False, woken=False, copy=copy
    )


class OutsideUndo:
    """The client's undo of external parts in one setting."""

    def __init__(self, setting: Setting, vm: OutsideVm, layers: Layers) -> None:
        self._setting = setting
        self._vm = vm
        self._layers = layers
        self._steps = setting.undo
        more = setting.capture or setting.copies
        self._any = bool(setting.overlays or more or setting.own >= 0)

    def first(self, state: State) -> Iterator[Move]:
        """What comes before anything else is touched; nothing where nothing does."""
        if not self._any:
            return
        stream = StreamPlace(state.outside.stream)
        if stream.under_way and "cancel-stream" in self._steps:
            yield Action(Act.CANCEL), self._vm.broken(state)
        elif state.outside.inactive and "active-before-undo" in self._steps:
            yield Action(Act.ACTIVATE), self._vm.resume(state)._replace(sent_cont=True)
            yield from self._again(state, Act.ACTIVATE)

    def _again(self, state: State, act: Act) -> Iterator[Move]:
        """It is refused, and tried again."""
        if state.budget:
            yield Action(Act.UNDO_REFUSED, act, 0), state._replace(budget=state.budget - 1)

    def rest(self, state: State, *, one_disk: bool) -> Iterator[Move]:
        """What comes after the internal parts are gone; nothing where nothing is left to do."""
        if not self._any:
            return
        added = state.outside.added & ~state.left
        if added:
            waiting = [d for d in range(len(self._setting.disks)) if added >> d & 1]
            for disk in waiting[-1:] if one_disk else waiting:
                yield from self._commit(state, disk)
            return
        if self._can_put_back(state):
            outside = state.outside._replace(changed=0)
            yield Action(Act.PUT_BACK), state._replace(outside=outside)
            yield from self._refused(state, Act.PUT_BACK, self._setting.settings_left)
            return
        yield from self._remove_files(state)

    def _can_put_back(self, state: State) -> bool:
        left = state.left >> self._setting.settings_left & 1
        return bool(state.outside.changed) and not left and "restore-settings" in self._steps

    def offline(self, state: State) -> Iterator[Move]:
        """The same where QEMU is gone: it asks nobody, so nothing refuses."""
        if not self._any or "repair-images" not in self._steps:
            return
        added = state.outside.added & ~state.left
        if added:
            disk = added.bit_length() - 1
            yield Action(Act.COMMIT, disk), self._committed(state, disk)
        else:
            yield from self._remove_files(state)

    def _remove_files(self, state: State) -> Iterator[Move]:
        # what is below an overlay that stays on its disk stays too
        files = state.outside.files & ~state.left
        if not files or "remove-files" not in self._steps:
            return
        number = files.bit_length() - 1
        yield Action(Act.REMOVE_FILE, number), self._without_file(state, number)
        yield from self._refused(state, Act.REMOVE_FILE, number)

    def _without_file(self, state: State, number: int) -> State:
        outside = state.outside._replace(files=state.outside.files & ~(1 << number))
        if number != self._setting.own:
            return state._replace(outside=outside)
        nothing = self._layers.number(Qcow2Image(content=1))
        return state._replace(outside=outside, layers=replaced_in(state.layers, number, nothing))

    def _refused(self, state: State, act: Act, number: int) -> Iterator[Move]:
        if state.budget:
            refused = state._replace(left=state.left | 1 << number, budget=state.budget - 1)
            yield Action(Act.UNDO_REFUSED, act, number), refused

    def _commit(self, state: State, disk: int) -> Iterator[Move]:
        if state.outside.inactive:
            yield Action(Act.COMMIT, disk), killed(state)
            return
        if self._vm.may_go_inactive(state):
            yield Action(Act.COMMIT, disk, 1), killed(state)
        done = self._committed(state, disk)
        yield Action(Act.COMMIT, disk), done
        if not state.budget:
            return
        yield from self._refused(state, Act.COMMIT, disk)
        less, looking = state.budget - 1, ClientPhase.LOOKING
        yield Action(Act.COMMIT_CUT, disk, 0), state._replace(phase=looking, budget=less)
        yield Action(Act.COMMIT_CUT, disk, 1), done._replace(phase=looking, budget=less)

    def _committed(self, state: State, disk: int) -> State:
        """The overlay is off its disk, what it held in the base, and its node is gone."""
        outside = state.outside._replace(added=state.outside.added & ~(1 << disk))
        base = -1 if disk == self._setting.own else outside.frozen[disk]
        if base < 0:
            return state._replace(outside=outside)
        if "commit-overlays" in self._steps:
            base = self._layers.committed(base, state.layers[disk])
        return state._replace(
            layers=replaced_in(state.layers, disk, base),
            outside=outside._replace(frozen=replaced_in(outside.frozen, disk, -1)),
        )
