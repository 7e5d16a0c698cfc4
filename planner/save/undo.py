"""Undoes a run that failed: look, delete what is provably ours, restore the run state, look again.

Where QEMU is gone for good, its images are looked at instead and the parts deleted there: qemu-img
takes each image's lock, so an image that somebody still has open is left alone and reported.
"""

from __future__ import annotations

from typing import cast

from attrs import evolve

from planner.errors import Problem, SnapplanError
from planner.model.facts import SnapshotInfo
from planner.model.request import RunStateAfter
from planner.program.program import Program
from planner.run.actions import (
    ErrorReply,
    Flow,
    ListImage,
    NoAnswer,
    RepairImage,
    Response,
    Returned,
    Send,
    Tell,
)
from planner.run.conversation import ROUNDS, Gone, Silent, StepFailed
from planner.run.freezing import settle_thaw
from planner.run.jobs import await_last_word
from planner.run.observation import Observation
from planner.run.outcome import Failure, Outcome, failure_of
from planner.run.ownership import find_own
from planner.run.phases import Phase
from planner.run.run_context import RunContext
from planner.save.undo_copies import UndoCopies
from planner.save.undo_external import UndoExternal

__all__ = ["undo_run"]


def undo_run(program: Program, context: RunContext, failure: Failure) -> Flow[Outcome]:
    """Undo a run that failed; it is in `Phase.INSPECTING`.

    Returns:
        The outcome: undone, undone in part, or unknown.
    """
    return (yield from _Undoing(program, context, failure).run())


class _Undoing:
    def __init__(self, program: Program, context: RunContext, failure: Failure) -> None:
        self._program = program
        self._context = context
        self._failure = failure
        self._tag = program.resolution.tag
        self._undone: list[str] = []
        self._left: list[Problem] = []
        self._clean: set[str] = set()
        self._external = UndoExternal(program, context, self._undone, self._left)
        self._copies = UndoCopies(program, context, self._undone, self._left)

    def run(self) -> Flow[Outcome]:
        yield Tell(f"failed: {self._failure.where}: {self._failure.message}; undoing")
        stands = self._context.may_stand
        # First, since the guest's programs wait for nothing else; but the agent of a guest that
        # stands is stopped too, and is asked once that runs again.
        frozen = () if stands else (yield from self._thaw())
        try:
            if not (yield from self._external.end_migration()):
                return (yield from self._leave_alone(frozen))
            yield from self._copies.end()
            look = yield from self._delete_own_parts()
            if self._external.concerned:
                yield from self._external.remove_overlays()
            yield from self._external.restore_settings()
            if self._external.concerned:
                look = yield from self._look()
            run_state = yield from self._restore_run_state(look)
            yield from self._external.remove_files()
            yield from self._external.forget_error()
            frozen = yield from self._thaw()  # again, if need be: a guest that was paused runs now
        except Gone:
            return (yield from self._undo_offline())
        except Silent as silent:
            why = silent.why
        except Exception as error:  # noqa: BLE001 - an answer that nobody thought of: it is not known
            why = failure_of(error, "undo").message
        else:
            self._left.extend(frozen)
            self._context.go(Phase.INCOMPLETE if self._left else Phase.UNDONE)
            return self._outcome(run_state)
        if stands:
            frozen = yield from self._thaw()
        return self._give_up(why, frozen)

    def _give_up(self, why: str, frozen: tuple[Problem, ...]) -> Outcome:
        self._left.append(Silent(why).problem())
        self._left.extend(frozen)
        self._context.go(Phase.UNKNOWN)
        return self._outcome("")

    def _leave_alone(self, frozen: tuple[Problem, ...]) -> Flow[Outcome]:
        """End without a touch: the nodes are inactive, and QEMU aborts on those (fact 35)."""
        look = yield from self._look()
        self._left.extend(frozen)
        for phase in (Phase.UNDOING, Phase.RESTORING, Phase.INCOMPLETE):
            self._context.go(phase)
        return self._outcome(look.run_state)

    def _thaw(self) -> Flow[tuple[Problem, ...]]:
        freeze = self._program.resolution.freeze
        if freeze is None:
            return ()
        problem = yield from settle_thaw(self._context, freeze.agent, self._undone)
        return () if problem is None else (problem,)

    def _outcome(self, run_state: str) -> Outcome:
        return Outcome(
            self._context.phase,
            run_state,
            failure=self._failure,
            undone=tuple(self._undone),
            left=tuple(self._left),
            events=tuple(self._context.pauses),
        )

    def _delete_own_parts(self) -> Flow[Observation]:
        """Delete until a look shows none; a deletion of unknown outcome is looked at, not repeated."""
        for _ in range(ROUNDS):
            look = yield from self._look()
            found = find_own(tuple(self._context.captures), self._still_fresh(look))
            self._context.note_made(found.own)
            self._context.go(Phase.UNDOING)
            if not found.own:
                self._left.extend(found.unclear)
                self._context.go(Phase.RESTORING)
                return look
            refused = yield from self._delete([(d, s.id) for d, s in found.own.items()])
            if refused:
                self._left.extend((*found.unclear, *refused))
                self._context.go(Phase.RESTORING)
                return look
            self._context.go(Phase.INSPECTING)
        raise Silent(f"parts of the snapshot are still there after {ROUNDS} rounds of undo")

    def _still_fresh(self, look: Observation) -> dict[str, tuple[SnapshotInfo, ...]]:
        # A disk makes one part of a run.  Once that is deleted, a snapshot of this tag that appears
        # there is another client's, even under the same id: qcow2 gives ids again.
        fresh = look.fresh(self._context.baseline, self._tag)
        return {disk: found for disk, found in fresh.items() if disk not in self._clean}

    def _delete(self, parts: list[tuple[str, str]]) -> Flow[list[Problem]]:
        refused = []
        for disk, snapshot_id in reversed(parts):
            device = self._context.baseline.roots[disk]
            arguments = {"device": device, "id": snapshot_id, "name": self._tag}
            response = yield from self._context.once(
                "blockdev-snapshot-delete-internal-sync", arguments
            )
            if isinstance(response, Returned):
                self._undone.append(f"deleted snapshot {snapshot_id} of {disk}")
                self._clean.add(disk)
            elif isinstance(response, ErrorReply):
                why = f"snapshot {snapshot_id} cannot be deleted: {response.description}"
                refused.append(Problem("part-left", disk, why, "delete it by id and name"))
        return refused

    def _restore_run_state(self, look: Observation) -> Flow[str]:
        """Bring the guest back to what it did before, where this run changed that."""
        before = self._program.resolution.run_state_before
        state = look.run_state
        stands = state == "paused" and self._context.sent_stop
        if state == "io-error" and self._program.resolution.copies:
            stands = True  # the copy failed, and the guest's write with it (fact 113)
        if before is RunStateAfter.RUNNING and stands:
            state = yield from self._command_run_state("cont", "resumed the guest")
        elif before is RunStateAfter.PAUSED and state == "running" and self._context.sent_cont:
            state = yield from self._command_run_state("stop", "paused the guest")
        if state != before.value:
            why = f"the VM is {state!r} and was {before.value!r} before the run"
            self._left.append(Problem("run-state-changed", "vm", why, "bring it back by hand"))
        return state

    def _command_run_state(self, command: str, words: str) -> Flow[str]:
        self._context.holds_pause = False
        response = yield from self._context.once(command)
        look = yield from self._look()
        if isinstance(response, Returned):
            self._undone.append(words)
        return look.run_state

    def _look(self) -> Flow[Observation]:
        """See the VM, connecting anew where needed, and only once our own job has ended."""
        why = ""
        for _ in range(ROUNDS):
            if not self._context.connected:
                yield from self._context.reconnect()
            try:
                look = yield from self._context.look()
                ended = yield from self._job_ended(look)
            except StepFailed as failed:
                why = failed.failure.message
                continue
            except SnapplanError as error:
                raise Silent(error.message) from error
            if ended:
                return look
            why = f"job {self._context.job_id} has not ended"
        raise Silent(why)

    def _job_ended(self, look: Observation) -> Flow[bool]:
        """Wait for a job of ours that still works, and dismiss it once it has ended."""
        ours = [job for job, _ in look.jobs if job.id == self._context.job_id]
        if not ours:
            return True
        if ours[0].status != "concluded":
            yield from await_last_word(self._context)
            return False
        yield Send("job-dismiss", {"id": self._context.job_id})
        self._context.job_id = ""
        return True

    def _undo_offline(self) -> Flow[Outcome]:
        """QEMU is gone: delete our parts from its images."""
        disks = {disk for capture in self._context.captures for disk in capture.disks} - self._clean
        held: dict[str, tuple[SnapshotInfo, ...]] = {}
        for disk in sorted(disks):
            held[disk] = yield from self._list_image(disk)
        fresh = {disk: self._fresh(disk, found) for disk, found in held.items()}
        # All or nothing is QEMU's promise while it lives: one that died may have done half.
        captures = tuple(
            evolve(c, atomic=c.atomic and c.known, since_us=max(c.since_us, c.host_us))
            for c in self._context.captures
        )
        found = find_own(captures, fresh)
        self._left.extend(found.unclear)
        for disk, snapshot in found.own.items():
            yield from self._repair_image(disk, snapshot)
        self._external.forget_nodes()
        self._copies.forget()
        yield from self._external.remove_files(gone=True)
        if self._context.phase is Phase.INSPECTING:
            self._context.go(Phase.UNDOING)
        if self._context.phase is Phase.UNDOING:
            self._context.go(Phase.RESTORING)
        self._undone.append("QEMU is gone, so there is no guest to resume")
        self._context.go(Phase.INCOMPLETE if self._left else Phase.UNDONE)
        return self._outcome("gone")

    def _fresh(self, disk: str, snapshots: tuple[SnapshotInfo, ...]) -> tuple[SnapshotInfo, ...]:
        old = self._context.baseline.ids[disk]
        return tuple(s for s in snapshots if s.name == self._tag and s.id not in old)

    def _list_image(self, disk: str) -> Flow[tuple[SnapshotInfo, ...]]:
        filename = self._context.baseline.filenames[disk]
        response = yield ListImage(filename)
        if isinstance(response, Returned):
            return cast("tuple[SnapshotInfo, ...]", response.value)
        self._left.append(_image_left(disk, filename, response))
        return ()

    def _repair_image(self, disk: str, own: SnapshotInfo) -> Flow[None]:
        filename = self._context.baseline.filenames[disk]
        response = yield RepairImage(filename, self._tag, own.id)
        if isinstance(response, Returned):
            self._undone.append(f"deleted snapshot {own.id} of {disk} from its image")
        else:
            self._left.append(_image_left(disk, filename, response))


def _image_left(disk: str, filename: str, response: Response) -> Problem:
    why = response.why if isinstance(response, NoAnswer) else "it cannot be looked at"
    return Problem(
        "image-not-repaired",
        disk,
        f"QEMU is gone, and its image {filename} may hold a part of the snapshot: {why}",
        "list it with `qemu-img snapshot -l`, and delete the part",
    )
