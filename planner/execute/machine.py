"""Runs a program, without I/O: it says what to do next and is told what came of it.

The machine takes a proved program and the VM's baseline.  It asks for one action at a time (send this
command, wait for an event, connect anew) and is told the response together with the events that had
arrived before it.  A command's return is never taken for its effect: each step is waited for as its
`WaitsFor` says, and at the end the VM itself has to show every part, once, of one instant.

A step ends applied, failed or unknown.  Whatever goes wrong, the way is the same: look at the VM, undo
in reverse what is provably ours by id and name, bring the run state back, and say what is left.  The
phases are in `planner.execute.phases`; the pump that does the I/O in `planner.execute.pump`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from attrs import define, field

from planner.compile.program import Program, Step, Target, WaitsFor
from planner.errors import InternalError
from planner.execute.actions import (
    Action,
    HostDo,
    NoAnswer,
    Response,
    Returned,
    Send,
    Tell,
    Turned,
)
from planner.execute.confirm import confirm, confirm_overlays, disks_as_shown
from planner.execute.follow import (
    ASK_RUN_STATE,
    await_job,
    await_migration,
    await_run_state,
)
from planner.execute.freezing import agent_step, check_agent
from planner.execute.look import Baseline, Look, bind, steps_disks
from planner.execute.outcome import Failure, FrozenPart, Outcome, StreamPart, failure_of
from planner.execute.ownership import Attempt, Capture
from planner.execute.phases import ENDS, Phase
from planner.execute.ports import Event
from planner.execute.undo import undo_run
from planner.execute.visit import StepFailed, Visit, answers
from planner.model.operations import Kind
from planner.model.replies import jobs_of
from planner.model.request import RunStateAfter

__all__ = ["Machine"]

Doing = Generator[Action, Response, None]


@define
class Machine:
    """One run of one program.

    Attributes:
        program: Proved, with references to nodes still in it.
        baseline: The VM just before the run.
        deadline_s: Replaces every step's own deadline where set.
        visit: What it knows of the VM, and its phase.
    """

    program: Program
    baseline: Baseline
    deadline_s: float | None = None
    visit: Visit = field(init=False)
    _stream_bytes: int = field(init=False, default=0)
    _stream_sha256: str = field(init=False, default="")
    _flow: Generator[Action, Response, Outcome] | None = field(init=False, default=None)
    _failure: Failure | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        paused = self.program.resolution.run_state_before is RunStateAfter.PAUSED
        self.visit = Visit(self.baseline, holds_pause=paused)

    def start(self) -> Action:
        """Begin; the first thing to do."""
        if self._flow is not None:
            raise InternalError("a run starts once", code="illegal-transition")
        self._flow = self._run()
        return next(self._flow)

    def tell(self, response: Response, events: Sequence[Event] = ()) -> Action | Outcome:
        """Say what came of the last action; the next thing to do, or the end.

        Args:
            response: What came of it.
            events: What QEMU said meanwhile, in order.
        """
        told = isinstance(response, Returned | Turned | NoAnswer)
        if self._flow is None or self.visit.phase in ENDS or not told:
            raise InternalError("nothing was asked for", code="illegal-transition")
        for event in events:
            self.visit.note_event(event)
        try:
            return self._flow.send(response)
        except StopIteration as end:
            outcome: Outcome = end.value
            self._failure = outcome.failure
            return outcome

    def again(self) -> Action | Outcome:
        """Begin the undo of a run anew that ended undone in part, or unknown; what to do next.

        Raises:
            InternalError: It did not end so.
        """
        ended = self.visit.phase in (Phase.INCOMPLETE, Phase.UNKNOWN)
        if not ended or self._failure is None:
            raise InternalError("there is nothing to undo again", code="illegal-transition")
        self.visit.phase = Phase.INSPECTING
        self._flow = undo_run(self.program, self.visit, self._failure)
        return next(self._flow)

    def take_back(self) -> Action | Outcome:
        """Begin to undo what the run made, though nothing failed; what to do next.

        Raises:
            InternalError: It has been undone already, or never began.
        """
        if self._flow is None or self.visit.phase in ENDS - {Phase.DONE}:
            raise InternalError("there is nothing to take back", code="illegal-transition")
        self.visit.phase = Phase.INSPECTING
        failure = Failure("taken-back", "the end", "it was made to be measured")
        self._flow = undo_run(self.program, self.visit, failure)
        return next(self._flow)

    def interrupt(self) -> None:
        """The user wants it stopped: the step in hand is finished, then everything is undone."""
        self.visit.interrupted = True

    def _run(self) -> Generator[Action, Response, Outcome]:
        try:
            self.visit.go(Phase.STEPPING)
            yield from self._steps()
            self.visit.go(Phase.CONFIRMING)
            look = yield from self._final_look()
            parts = confirm(self.program, look, self.visit)
            frozen = yield from self._confirm_overlays()
        except StepFailed as failed:
            self.visit.go(Phase.INSPECTING)
            return (yield from undo_run(self.program, self.visit, failed.failure))
        except Exception as error:  # noqa: BLE001 - a reply in a shape that nobody thought of, or a bug
            self.visit.go(Phase.INSPECTING)
            return (yield from undo_run(self.program, self.visit, failure_of(error, "reply")))
        self.visit.go(Phase.DONE)
        return Outcome(
            Phase.DONE,
            look.run_state,
            parts,
            events=tuple(self.visit.pauses),
            frozen=frozen,
            stream=self._stream_part(),
        )

    def _stream_part(self) -> StreamPart | None:
        stream = self.program.resolution.stream
        if stream is None:
            return None
        return StreamPart(stream.path, self._stream_bytes, stream.mapped, self._stream_sha256)

    def _confirm_overlays(self) -> Generator[Action, Response, tuple[FrozenPart, ...]]:
        if not self.program.resolution.overlays:
            return ()
        disks = yield from disks_as_shown(self.visit)
        return confirm_overlays(self.program, disks, self.visit)

    def _steps(self) -> Doing:
        count = len(self.program.steps)
        if self.program.resolution.freeze is not None:
            self.visit.where = "the guest agent"
            yield from check_agent(self.visit)  # before anything is done that cannot be undone
        for number, step in enumerate(self.program.steps, start=1):
            self.visit.check_wishes()
            told = yield Tell(step.execute, number, count)
            if isinstance(told, Returned) and isinstance(told.value, int):
                self.visit.host_us = told.value
            self.visit.where = f"step {number} of {count} ({step.execute})"
            yield from self._step(step)
            self.visit.check_pause_held()
        self.visit.check_wishes()

    def _final_look(self) -> Generator[Action, Response, Look]:
        self.visit.where = "the final check"
        look = yield from self.visit.look()
        self.visit.check_pause_held()
        return look

    def _step(self, step: Step) -> Doing:
        self._begin(step)
        if step.target is Target.HOST:
            yield from self._host_step(step)
            return
        freeze = self.program.resolution.freeze
        if step.target is Target.AGENT and freeze is not None:
            yield from agent_step(self.visit, step, freeze, self.deadline_s)
            return
        changes_run_state = step.waits_for in _RUN_STATES
        told = yield from answers(
            Send(
                step.execute,
                bind(step.arguments, self.baseline.live_nodes),
                self.deadline_s or step.timeout_s,
                starts_deadline=True,
                descriptor=self._temporary if step.execute == "getfd" else "",
                then=(ASK_RUN_STATE,) if changes_run_state else (),
            )
        )
        response = told[0]
        if isinstance(response, Turned):
            self.visit.end_capture(Attempt.FAILED)
        self.visit.must_be_done(response)
        if step.waits_for is WaitsFor.JOB:
            yield from self._await_job(
                str(step.arguments["job-id"]), self.deadline_s or step.timeout_s
            )
        elif changes_run_state:
            yield from await_run_state(self.visit, _RUN_STATES[step.waits_for], told[1])
            self.visit.holds_pause = step.waits_for is WaitsFor.STOPPED
        elif step.waits_for in _STREAM_WAITS:
            yield from await_migration(self.visit, step, self.deadline_s)
        self.visit.end_capture(Attempt.APPLIED)
        for operation in step.covers:
            if operation.kind is Kind.DELETE_DISK_SNAPSHOT:
                self.visit.forget_id(operation.disk, operation.detail)

    @property
    def _temporary(self) -> str:
        stream = self.program.resolution.stream
        return "" if stream is None else stream.temporary

    def _host_step(self, step: Step) -> Doing:
        timeout_s = self.deadline_s or step.timeout_s
        response = yield HostDo(step.execute, self._host_arguments(step), timeout_s)
        if isinstance(response, Turned):
            if step in self.visit.files:
                self.visit.files.remove(step)  # nothing of it is left
            raise self.visit.failed(response.error_class, response.description)
        told = self.visit.must_be_done(response)
        if step.execute == "keep-stream" and isinstance(told, dict):
            self._stream_bytes = int(told.get("size", 0))
            self._stream_sha256 = str(told.get("sha256", ""))
            if not self._stream_bytes:
                raise self.visit.failed("stream-empty", "QEMU wrote no machine state to the file")

    def _host_arguments(self, step: Step) -> dict[str, object]:
        """What the host is told; disks become the images that they are on this VM."""
        arguments = dict(step.arguments)
        disks = arguments.pop("disks", None)
        if isinstance(disks, list | tuple):
            arguments["paths"] = [self.baseline.filenames[disk] for disk in disks]
        return arguments

    def _begin(self, step: Step) -> None:
        """Note what the step will have done if nothing more is heard of it."""
        self.visit.begin_external(step)
        if step.execute == "cont":
            self.visit.holds_pause = False
            self.visit.sent_cont = True
        if step.execute == "stop":
            self.visit.sent_stop = True
        if step.waits_for is WaitsFor.JOB:
            self.visit.job_id = str(step.arguments["job-id"])
            self.visit.sent_stop = True  # the job stops a running guest
        disks = steps_disks(step)
        if disks:
            visit = self.visit
            times = (visit.last_event_us, visit.host_us)
            visit.captures.append(Capture(disks, Attempt.UNKNOWN, step.atomic, *times))

    def _await_job(self, job_id: str, timeout_s: float) -> Doing:
        silent = yield from await_job(self.visit, job_id, timeout_s)
        if silent is not None:
            self.visit.must_be_done(silent)
        reply = self.visit.must_be_done((yield Send("query-jobs")))
        error = next((error for job, error in jobs_of(reply) if job.id == job_id), None)
        yield from self._dismiss(job_id)
        if error is None:
            raise self.visit.failed("job-vanished", f"somebody else dismissed job {job_id}")
        if error:
            self.visit.end_capture(Attempt.FAILED)
            raise self.visit.failed("job-failed", f"QEMU says: {error}")

    def _dismiss(self, job_id: str) -> Doing:
        # Best effort: a concluded job that stays is a nuisance, not a failed snapshot.
        response = yield Send("job-dismiss", {"id": job_id})
        if isinstance(response, Returned):
            self.visit.job_id = ""


_RUN_STATES = {WaitsFor.STOPPED: "paused", WaitsFor.RUNNING: "running"}
_STREAM_WAITS = (WaitsFor.SWITCHOVER, WaitsFor.TRACKING, WaitsFor.MIGRATED)
