"""Loads a snapshot on a running VM, without I/O: the machine of `snapplan load`.

    stop - look again - snapshot-load - look - cont

The guest is stopped first, by a command of its own: a failed load then leaves it `paused`, from which
everything is known to be right, and not in `restore-vm` (fact 18); what the preflight saw is looked at
once more while nothing can change it; and the guest runs again only when the load is known to be whole.

A load that failed part way is never continued: the guest would find disks of two instants (fact 20).
Where nothing was reverted yet, the VM is brought back to what it did before.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field, frozen

from planner.compile.load_checks import LoadedPart, LoadOrder
from planner.errors import InternalError, Problem
from planner.execute.actions import (
    Action,
    AwaitEvent,
    NoAnswer,
    Returned,
    Send,
    Tell,
    Turned,
)
from planner.execute.driven import GRACE_S, Driven, Flow, Gone, Silent
from planner.execute.follow import await_job
from planner.execute.load_failure import UNTOUCHED, Reverted, everything_perhaps, read_failure
from planner.execute.look import Baseline
from planner.execute.outcome import Failure, Outcome, failure_of
from planner.execute.phases import Phase
from planner.execute.visit import StepFailed, Visit
from planner.model.facts import Snapshot
from planner.model.image import bitmaps_of_nodes
from planner.model.replies import jobs_of, snapshots_of

__all__ = ["LOAD_TIMEOUT_S", "LoadMachine", "LoadOutcome"]

LOAD_TIMEOUT_S = 3600.0
"""QEMU answers nothing while it loads (fact 2), and a machine state may be large."""

_SNAPSHOT_JOBS = ("snapshot-save", "snapshot-load", "snapshot-delete")


@frozen
class LoadOutcome(Outcome):
    """The end of a load.

    Attributes:
        loaded: Whether the snapshot was loaded, whole, whatever came after.
        reverted: What a load that failed did to the disks.
    """

    loaded: bool = False
    reverted: Reverted = UNTOUCHED

    def _vm_state(self) -> str:
        state = f"The VM is {self.run_state}" if self.run_state else "The VM cannot be asked"
        if self.loaded:
            return f"{state}; the snapshot is loaded on all its disks."
        if self.phase is Phase.UNKNOWN:
            if self.reverted.nothing:
                return f"{state}; no disk was reverted."
            return f"{state}; whether the load was done is not known. Do not let the guest run."
        if self.reverted.nothing:
            undone = f"; {'; '.join(self.undone)}" if self.undone else ""
            return f"{state}{undone}; no disk was reverted."
        return f"{state}, and must not run: its disks may be of two instants; see the problems."


def _visit_of(order: LoadOrder) -> Visit:
    baseline = Baseline(
        nodes={part.disk: part.node for part in order.parts},
        roots={},
        filenames={},
        ids={},
        run_state=order.run_state_before,
    )
    return Visit(baseline, holds_pause=order.stopped or order.run_state_before != "running")


@define
class LoadMachine(Driven):
    """One load.

    Attributes:
        order: What to load; it passed the preflight.
        deadline_s: How long the job may take, in seconds.
    """

    order: LoadOrder = field(kw_only=True)
    deadline_s: float = field(kw_only=True, default=LOAD_TIMEOUT_S)
    _unknown: bool = field(init=False, default=False)
    _loaded: bool = field(init=False, default=False)
    _reverted: Reverted = field(init=False, default=UNTOUCHED)

    @classmethod
    def of(cls, order: LoadOrder, deadline_s: float | None = None) -> LoadMachine:
        """A load of this order."""
        return cls(_visit_of(order), order=order, deadline_s=deadline_s or LOAD_TIMEOUT_S)

    @property
    def begun(self) -> bool:
        """Whether QEMU may have been told to load."""
        return self._loaded or self._unknown or not self._reverted.nothing

    def again(self) -> Action | Outcome:
        """Ask anew what became of a load whose outcome was unknown; what to do next.

        Raises:
            InternalError: It did not end so.
        """
        if self.visit.phase is not Phase.UNKNOWN:
            raise InternalError("there is nothing to ask again", code="illegal-transition")
        self.visit.phase = Phase.STEPPING
        self.visit.connected = False
        self._reverted = UNTOUCHED
        self._flow = self._ending(self._go_on())
        return next(self._flow)

    def _run(self) -> Flow[Outcome]:
        self.visit.go(Phase.STEPPING)
        return (yield from self._ending(self._load()))

    def _ending(self, doing: Flow[str]) -> Flow[Outcome]:
        try:
            run_state = yield from doing
        except StepFailed as failed:
            return (yield from self._failed(failed.failure))
        except Gone:
            return self._gone(self._failure("vm-gone", "QEMU is gone"))
        except Silent as silent:
            return self._silent(self._failure("vm-silent", silent.why), silent)
        except Exception as error:  # noqa: BLE001 - a reply that nobody thought of, or a bug
            return (yield from self._failed(failure_of(error, self.visit.where or "the start")))
        self.visit.go(Phase.CONFIRMING)
        self.visit.go(Phase.DONE)
        return self._outcome(run_state)

    def _failure(self, code: str, message: str) -> Failure:
        return Failure(code, self.visit.where or "the start", message)

    def _load(self) -> Flow[str]:
        steps = list(self._steps())
        run_state = ""
        for number, name in enumerate(steps, start=1):
            yield Tell(name, number, len(steps))
            self.visit.where = f"step {number} of {len(steps)} ({name})"
            if not self._loaded:
                self.visit.check_wishes()
            if name == "snapshot-load":
                run_state = yield from self._load_job()
            else:
                wanted = "running" if name == "cont" else "paused"
                run_state = yield from self._bring_to(name, wanted)
                self.visit.holds_pause = name == "stop"
        return run_state

    def _go_on(self) -> Flow[str]:
        """From where nobody knew: the job's end is asked for, or the guest is brought back."""
        if self._unknown and not self._loaded:
            yield from self._await_end()
            self._loaded = True
        if not self._loaded:
            raise self.visit.failed("vm-silent", "the VM did not answer before it was loaded")
        if self.order.run_state_after == "running":
            return (yield from self._bring_to("cont", "running"))
        return (yield from self._run_state())

    def _steps(self) -> Iterator[str]:
        if self.order.run_state_before == "running" and not self.order.stopped:
            yield "stop"
        yield "snapshot-load"
        if self.order.run_state_after == "running":
            yield "cont"

    def _load_job(self) -> Flow[str]:
        yield from self._look_again()
        self._must_be_held()
        self.visit.check_wishes()
        self.visit.job_id = self.order.job_id
        arguments = {
            "job-id": self.order.job_id,
            "tag": self.order.tag,
            "vmstate": self.order.vmstate,
            "devices": [part.node for part in self.order.parts],
        }
        self._unknown = True
        response = yield Send("snapshot-load", arguments, self.deadline_s, starts_deadline=True)
        if isinstance(response, Turned):
            self._unknown = False  # nothing but a malformed command is refused at once (fact 1)
            raise self.visit.failed("command-refused", f"QEMU says: {response.description}")
        if isinstance(response, NoAnswer):
            self.visit.connected = not response.lost
        elif not self.visit.job_status:
            self.visit.job_status = "created"  # its events may come later, or never
        yield from self._await_end()
        self._loaded = True
        run_state = yield from self._run_state()
        if run_state == "running" and self.order.run_state_after != "running":
            self._must_be_held()
        return run_state

    def _must_be_held(self) -> None:
        if self.visit.resumed_by_other:
            raise self.visit.failed(
                "resumed-by-other", "another QMP client let the guest run inside the pause"
            )

    def _look_again(self) -> Flow[None]:
        """See once more what the preflight saw: now nothing but another client can change it."""
        if (yield from self._run_state()) == "running":
            raise self.visit.failed("resumed-by-other", "another QMP client let the guest run")
        nodes = yield from self._ask("query-named-block-nodes", {"flat": True})
        held, bitmaps = snapshots_of(nodes), bitmaps_of_nodes(nodes)
        for part in self.order.parts:
            if not _holds_just(part, self.order.tag, held.get(part.node, ())):
                words = f"the snapshots of {part.disk} have changed since they were checked"
                raise self.visit.failed("vm-changed", words)
            if bitmaps.get(part.node):
                words = f"{part.disk} has a dirty bitmap since it was checked (fact 20)"
                raise self.visit.failed("vm-changed", words)
        for job, _ in jobs_of((yield from self._ask("query-jobs"))):
            if job.type in _SNAPSHOT_JOBS and job.status not in ("concluded", "null"):
                raise self.visit.failed("vm-changed", f"job {job.id!r} has begun since")

    def _await_end(self) -> Flow[None]:
        """Wait until the job has ended; raise where it failed.

        A new connection tells what became of a job whose reply was lost: it is there, or there never
        will be one (fact 51).
        """
        if self.visit.connected:
            silent = yield from await_job(self.visit, self.order.job_id, self.deadline_s)
            self.visit.connected = silent is None or not silent.lost
        for _ in range(ROUNDS_OF_WAITING):
            reply = yield from self._ask("query-jobs")
            ours = [(job, error) for job, error in jobs_of(reply) if job.id == self.order.job_id]
            if not ours:
                yield from self._never_was()
            job, error = ours[0]
            if job.status == "concluded":
                yield from self._dismiss()
                self._judge(error)
                return
            while not self.visit.job_ended:
                if not isinstance((yield AwaitEvent(GRACE_S)), Returned):
                    break
        raise Silent(f"job {self.order.job_id} has not ended")

    def _never_was(self) -> Flow[None]:
        """No job of ours is there: it never began, or somebody else dismissed it."""
        run_state = yield from self._run_state()
        seen = bool(self.visit.job_status)
        # We stopped the guest, or found it stopped: a VM that runs is not what it was.
        if seen or run_state == "running":
            self._reverted = everything_perhaps(self.order)
            words = f"job {self.order.job_id} is gone, and nobody can say what it did"
            raise self.visit.failed("job-vanished", words)
        self._unknown = False
        raise self.visit.failed("connection-lost", "the connection ended before QEMU began to load")

    def _judge(self, error: str) -> None:
        if error:
            self._reverted = read_failure(error, self.order)
            self._unknown = False
            raise self.visit.failed("job-failed", f"QEMU says: {error}")

    def _dismiss(self) -> Flow[None]:
        # Best effort: a concluded job that stays is a nuisance, not a failed load.
        response = yield Send("job-dismiss", {"id": self.order.job_id})
        if isinstance(response, NoAnswer):
            self.visit.connected = not response.lost
        self.visit.job_id = ""

    # --- how it ends ----------------------------------------------------------------------------

    def _failed(self, failure: Failure) -> Flow[Outcome]:
        """Tell the truth, and bring the VM back where nothing was reverted."""
        yield Tell(f"failed: {failure.where}: {failure.message}")
        self.visit.go(Phase.INSPECTING)
        if self._unknown and not self._loaded:  # sent, and nothing is known of it
            self._reverted = everything_perhaps(self.order)
        try:
            run_state = yield from self._run_state()
            if not self._loaded and self._reverted.nothing:
                return (yield from self._bring_back(failure, run_state))
        except Gone:
            return self._gone(failure)
        except Silent as silent:
            return self._silent(failure, silent)
        except Exception as error:  # noqa: BLE001 - likewise: then nothing is known
            return self._silent(failure, Silent(str(error)))
        left = () if self._loaded else self._reverted.problems(self.order)
        if self._loaded:
            left = (
                Problem(
                    "run-state-changed",
                    "vm",
                    f"the snapshot is loaded, and the VM is {run_state!r} where "
                    f"{self.order.run_state_after!r} was asked for",
                    "stop or continue it by hand",
                ),
            )
        return self._end(Phase.INCOMPLETE, run_state, failure, left)

    def _bring_back(self, failure: Failure, run_state: str) -> Flow[Outcome]:
        wanted = self.order.run_state_before
        undone: tuple[str, ...] = ()
        stopped = self.visit.sent_stop or self.order.stopped
        if wanted == "running" and stopped and run_state in ("paused", "restore-vm"):
            run_state = yield from self._bring_to("cont", "running")
            undone = ("resumed the guest",)
        self.visit.go(Phase.UNDOING)
        self.visit.go(Phase.RESTORING)
        if wanted == "running" and run_state != "running":
            words = f"the VM is {run_state!r} and was {wanted!r} before the load"
            left = Problem("run-state-changed", "vm", words, "bring it back by hand")
            self.visit.go(Phase.INCOMPLETE)
            return self._outcome(run_state, failure, (left,), undone)
        self.visit.go(Phase.UNDONE)
        return self._outcome(run_state, failure, (), undone)

    def _gone(self, failure: Failure) -> Outcome:
        if self._unknown and not self._loaded:
            self._reverted = everything_perhaps(self.order)
        left: tuple[Problem, ...] = ()
        if self._loaded:
            words = "the snapshot was loaded, and then QEMU ended: the guest is gone"
            left = (Problem("run-state-changed", "vm", words, "start QEMU, and load it again"),)
        elif not self._reverted.nothing:
            left = self._reverted.problems(self.order)
        phase = Phase.INCOMPLETE if left else Phase.UNDONE
        if self.visit.phase is Phase.STEPPING:
            self.visit.go(Phase.INSPECTING)
        return self._end(phase, "gone", failure, left)

    def _silent(self, failure: Failure, silent: Silent) -> Outcome:
        if self.visit.phase is Phase.STEPPING:
            self.visit.go(Phase.INSPECTING)
        if self._unknown and not self._loaded:
            self._reverted = everything_perhaps(self.order)
        left = () if self._loaded else self._reverted.problems(self.order)
        return self._end(Phase.UNKNOWN, "", failure, (silent.problem(), *left))

    def _end(
        self, phase: Phase, run_state: str, failure: Failure, left: tuple[Problem, ...]
    ) -> Outcome:
        if phase is not Phase.UNKNOWN:
            self.visit.go(Phase.UNDOING)
            self.visit.go(Phase.RESTORING)
        self.visit.go(phase)
        return self._outcome(run_state, failure, left)

    def _outcome(
        self,
        run_state: str,
        failure: Failure | None = None,
        left: tuple[Problem, ...] = (),
        undone: tuple[str, ...] = (),
    ) -> LoadOutcome:
        return LoadOutcome(
            self.visit.phase,
            run_state,
            failure=failure,
            undone=undone,
            left=left,
            events=tuple(self.visit.pauses),
            loaded=self._loaded,
            reverted=self._reverted,
        )


ROUNDS_OF_WAITING = 3


def _holds_just(part: LoadedPart, tag: str, held: tuple[Snapshot, ...]) -> bool:
    """Whether a node holds the part, and no other snapshot that QEMU could take for it."""
    named = [snapshot for snapshot in held if tag in (snapshot.name, snapshot.id)]
    return [(s.id, s.vm_clock_ns) for s in named] == [(part.snapshot_id, part.vm_clock_ns)]
