"""What the client does: it sends, is answered or not, and undoes what fails.

The policy is that of `planner.save` (machine, ownership, undo), written again over this model,
because neither room may need the other; `tests/model/test_explore_executor.py` holds the two
together.  The client stops at the first thing that is not right, looks at the VM, takes for its own
what is dated since the step that it sent, deletes that by id, restores the run state, and says what
is left.  Where QEMU is gone, it repairs the images.

One thing of the executor's is left out on purpose: its last look, which refuses a snapshot that it
sees to be wrong.  A verdict is about a design, not about who watches it; a story tells whether that
look would have noticed (`properties.noticed`).

Rules: pure.  The faults that strike the client's own commands are here; those inside QEMU are in
`vm_moves`.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.explore.copies import died
from planner.explore.freezing import thaw_in_undo
from planner.explore.layers import TAG
from planner.explore.outside_undo import OutsideUndo, killed
from planner.explore.state import Act, Action, Attempt, ClientPhase, Setting, State
from planner.explore.vm_moves import Move, VmMoves, bits
from planner.model.operations import Kind
from planner.semantics import LayerSnapshot

__all__ = ["ClientMoves", "qemu_gone"]


class ClientMoves:
    """The client's moves in one setting."""

    def __init__(self, setting: Setting, vm: VmMoves) -> None:
        self._setting = setting
        self._vm = vm
        self._layers = vm.layers
        self._outside = OutsideUndo(setting, vm.outside, vm.layers)
        self._known_ids = tuple(
            frozenset(s.id for s in layer.snapshots) for layer in setting.images
        )
        # (instruction, disk, id) of what the request gives up: qcow2 may give such an id again
        self._given_up = tuple(
            (at, vm.disk_of[at][number], operation.detail)
            for at, instruction in enumerate(setting.instructions)
            for number, operation in enumerate(instruction.operations)
            if operation.kind is Kind.DELETE_DISK_SNAPSHOT
        )
        self._kinds = tuple(instruction.kinds for instruction in setting.instructions)
        self._in_stream = tuple(instruction.in_stream for instruction in setting.instructions)

    # --- sending ------------------------------------------------------------------------------------

    def next_command(self, state: State) -> Iterator[Move]:
        """The next instruction is sent, or all is done."""
        if state.at == len(self._setting.instructions):
            yield Action(Act.END), state._replace(phase=ClientPhase.DONE)
            return
        sent = self._noted(state)
        yield Action(Act.SEND, state.at), self._vm.begin(sent)
        if not state.budget:
            return
        struck = sent._replace(budget=state.budget - 1)
        yield Action(Act.REFUSE, state.at), self._failed(struck, Attempt.FAILED)
        yield Action(Act.CUT_BEFORE, state.at), self._failed(struck, Attempt.UNKNOWN)

    def _noted(self, state: State) -> State:
        """What the client notes before it sends: what will have been done if it hears no more."""
        kinds = self._kinds[state.at]
        pauses, resumes = Kind.PAUSE_GUEST in kinds, Kind.RESUME_GUEST in kinds
        return state._replace(
            attempts=self._attempt(state, Attempt.UNKNOWN),
            sent_stop=state.sent_stop or pauses,
            sent_cont=state.sent_cont or (resumes and not pauses),
            holds=state.holds and not resumes,
        )

    def _attempt(self, state: State, attempt: Attempt) -> tuple[int, ...]:
        return (*state.attempts[: state.at], attempt, *state.attempts[state.at + 1 :])

    def _failed(self, state: State, attempt: Attempt) -> State:
        return state._replace(
            attempts=self._attempt(state, attempt),
            phase=ClientPhase.LOOKING,
            sent=False,
            done=0,
            failing=False,
            stopped=False,
            queue=(),
            captured=False,
        )

    def answered(self, state: State) -> Iterator[Move]:
        """Everything that the instruction does is done, or undone: QEMU says so."""
        if state.failing:
            yield Action(Act.REPORT_FAILURE, state.at), self._failed(state, Attempt.FAILED)
            return
        if state.woken:
            yield Action(Act.ANSWER, state.at), self._failed(state, Attempt.APPLIED)
        else:
            kinds = self._kinds[state.at]
            only_pauses = Kind.PAUSE_GUEST in kinds and Kind.RESUME_GUEST not in kinds
            yield (
                Action(Act.ANSWER, state.at),
                state._replace(
                    attempts=self._attempt(state, Attempt.APPLIED),
                    at=state.at + 1,
                    sent=False,
                    done=0,
                    stopped=False,
                    holds=state.holds or only_pauses,
                ),
            )
        if state.budget:
            struck = state._replace(budget=state.budget - 1)
            yield Action(Act.CUT_AFTER, state.at), self._failed(struck, Attempt.UNKNOWN)

    def cut_inside(self, state: State) -> Iterator[Move]:
        """The connection ends while a stream is under way: QEMU goes on with it alone."""
        if state.budget and state.done & self._in_stream[state.at]:
            struck = state._replace(budget=state.budget - 1)
            yield Action(Act.CUT_INSIDE, state.at), self._failed(struck, Attempt.UNKNOWN)

    # --- undoing ------------------------------------------------------------------------------------

    def look(self, state: State) -> Move:
        """The client looks at the VM, and remembers what a step of unknown outcome has made."""
        attempts = state.attempts
        if "remember-what-was-made" in self._setting.undo:
            own = self.own(state)
            attempts = tuple(
                Attempt.APPLIED if attempt and own.keys() & set(disks) else attempt
                for attempt, disks in zip(attempts, self._vm.snapshots, strict=True)
            )
        return Action(Act.LOOK), state._replace(phase=ClientPhase.UNDOING, attempts=attempts)

    def own(self, state: State) -> dict[int, LayerSnapshot]:
        """By disk, what is provably the run's own."""
        return {disk: found[0] for disk, found in self._candidates(state) if len(found) == 1}

    def _candidates(self, state: State) -> Iterator[tuple[int, list[LayerSnapshot]]]:
        fresh = {
            disk: self._fresh(state, disk)
            for disks in self._vm.snapshots
            for disk in disks
            if not state.clean >> disk & 1
        }
        for at, attempt in enumerate(state.attempts):
            if attempt == Attempt.NOT_SENT or not self._made_all(state, at, attempt, fresh):
                continue
            for disk in self._vm.snapshots[at]:
                # by id and date; without that step of undo, whatever has the name
                since = 2 * at + 2 if "by-id" in self._setting.undo else 0
                found = [s for s in fresh.get(disk, []) if s.date_ns >= since]
                if found:
                    yield disk, found if since else found[:1]

    def _fresh(self, state: State, disk: int) -> list[LayerSnapshot]:
        again = {i for at, d, i in self._given_up if d == disk and state.attempts[at]}
        known = self._known_ids[disk] - again
        return [
            snapshot
            for snapshot in self._layers[state.layers[disk]].snapshots
            if snapshot.name == TAG and snapshot.id not in known
        ]

    def _made_all(
        self, state: State, at: int, attempt: int, fresh: dict[int, list[LayerSnapshot]]
    ) -> bool:
        atomic = self._setting.instructions[at].atomic
        if not atomic or (state.dead and attempt == Attempt.UNKNOWN):
            return True
        if attempt == Attempt.FAILED:
            return False
        return attempt == Attempt.APPLIED or all(fresh.get(d) for d in self._vm.snapshots[at])

    def undo(self, state: State, *, one_disk: bool) -> Iterator[Move]:
        """Delete what is the run's own; then restore the run state."""
        before = list(thaw_in_undo(self._setting, state)) or list(self._outside.first(state))
        before = before or list(self._vm.copies.undo(state, one_disk=one_disk))
        if before:
            yield from before
            return
        own = self.own(state) if "delete-parts" in self._setting.undo else {}
        waiting = [disk for disk in own if not state.left >> disk & 1]
        if not waiting:
            after = list(self._outside.rest(state, one_disk=one_disk))
            yield from after or self._restore(state)
            return
        for disk in [max(waiting)] if one_disk else waiting:
            yield from self._delete(state, disk, own[disk].id)

    def _delete(self, state: State, disk: int, snapshot_id: str) -> Iterator[Move]:
        if state.outside.inactive:  # QEMU aborts (fact 35)
            yield Action(Act.DELETE, disk), killed(state)
            return
        if self._vm.outside.may_go_inactive(state):
            yield Action(Act.DELETE, disk, 1), killed(state)
        new = self._layers.without(state.layers[disk], snapshot_id)
        layers = (*state.layers[:disk], new, *state.layers[disk + 1 :])
        deleted = state._replace(layers=layers)
        yield Action(Act.DELETE, disk), deleted._replace(clean=state.clean | 1 << disk)
        if not state.budget:
            return
        less = state.budget - 1
        yield (
            Action(Act.DELETE_REFUSED, disk),
            state._replace(left=state.left | 1 << disk, budget=less),
        )
        looking = ClientPhase.LOOKING
        yield Action(Act.DELETE_CUT, disk, 0), state._replace(phase=looking, budget=less)
        yield Action(Act.DELETE_CUT, disk, 1), deleted._replace(phase=looking, budget=less)

    def _restore(self, state: State) -> Iterator[Move]:
        unclear = sum(1 << disk for disk, found in self._candidates(state) if len(found) > 1)
        settled = state._replace(left=state.left | unclear)
        wrong = self._run_state_to_restore(state)
        if not wrong:
            yield Action(Act.END), settled._replace(phase=_end(settled))
            return
        restored = settled._replace(running=False)
        if self._setting.runs_before:
            restored = self._vm.outside.resume(settled)
        yield Action(Act.RESTORE), restored._replace(phase=_end(restored))
        if state.budget:
            refused = settled._replace(left_paused=True, budget=state.budget - 1)
            yield Action(Act.RESTORE_REFUSED), refused._replace(phase=ClientPhase.INCOMPLETE)

    def _run_state_to_restore(self, state: State) -> bool:
        if "resume-guest" not in self._setting.undo:
            return False
        if self._setting.runs_before:
            return not state.running and (state.sent_stop or state.copy.stopped)
        return state.running and state.sent_cont

    # --- a QEMU that is gone ------------------------------------------------------------------------

    def die(self, state: State) -> Iterator[Move]:
        """QEMU dies."""
        if not state.budget:
            return
        yield Action(Act.DIE), qemu_gone(state)

    def repair(self, state: State, *, one_disk: bool) -> Iterator[Move]:
        """Delete the run's own parts from the images; qemu-img deletes by name, so only a lone one."""
        own = self.own(state) if "repair-images" in self._setting.undo else {}
        waiting = [disk for disk in own if not state.left >> disk & 1]
        if not waiting:
            rest = list(self._outside.offline(state))
            if rest:
                yield from rest
                return
            unclear = sum(1 << disk for disk, found in self._candidates(state) if len(found) > 1)
            settled = state._replace(left=state.left | unclear)
            yield Action(Act.END), settled._replace(phase=_end(settled))
            return
        for disk in [max(waiting)] if one_disk else waiting:
            yield self._repair(state, disk, own[disk].id)

    def _repair(self, state: State, disk: int, snapshot_id: str) -> Move:
        layer = state.layers[disk]
        same = sum(s.name == TAG for s in self._layers[layer].snapshots)
        if same > 1:
            return Action(Act.REPAIR, disk), state._replace(left=state.left | 1 << disk)
        new = self._layers.without(layer, snapshot_id)
        layers = (*state.layers[:disk], new, *state.layers[disk + 1 :])
        return (
            Action(Act.REPAIR, disk),
            state._replace(layers=layers, clean=state.clean | 1 << disk),
        )


def _end(state: State) -> ClientPhase:
    told = any(bits(state.left)) or state.left != 0 or state.left_paused
    return ClientPhase.INCOMPLETE if told else ClientPhase.UNDONE


def qemu_gone(state: State) -> State:
    """What is left when QEMU dies: the images, and a client that repairs them."""
    return state._replace(
        phase=ClientPhase.OFFLINE,
        dead=1,
        running=False,
        sent=False,
        done=0,
        failing=False,
        stopped=False,
        queue=(),
        captured=False,
        woken=False,
        frozen=False,
        budget=state.budget - 1,
        copy=died(state.copy),
    )
