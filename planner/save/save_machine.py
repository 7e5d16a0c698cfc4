"""Runs a program, without I/O: it says what to do next and is told what came of it.

The machine takes a proved program and the VM's baseline.  It asks for one action at a time (send this
command, wait for an event, connect anew) and is told the response together with the events that had
arrived before it.  A command's return is never taken for its effect: each step is waited for as its
`WaitsFor` says, and at the end the VM itself has to show every part, once, of one instant.

A step ends applied, failed or unknown.  Whatever goes wrong, the way is the same: look at the VM, undo
in reverse what is provably ours by id and name, bring the run state back, and say what is left.  The
phases are in `planner.run.phases`; the pump that does the I/O in `planner.run.pump`.
"""

from __future__ import annotations

from attrs import define, field

from planner.errors import InternalError
from planner.model.facts import Facts, SnapshotInfo
from planner.model.operations import Kind
from planner.model.replies import descriptor_sets_of, job_of, snapshots_of
from planner.model.request import RunStateAfter
from planner.parts.make_copy import ends_copy
from planner.parts.making import KeptFile
from planner.program.gates import Gate, gates_of
from planner.program.program import Program, Step, Target, WaitsFor
from planner.run.actions import (
    Action,
    AtGate,
    ErrorReply,
    Flow,
    HostDo,
    Response,
    Returned,
    Send,
    Tell,
)
from planner.run.conversation import StepFailed, answers
from planner.run.freezing import agent_step, check_agent
from planner.run.jobs import await_job
from planner.run.machine import Machine
from planner.run.observation import Baseline, Observation, baseline_of, bind, steps_disks
from planner.run.outcome import Failure, Outcome, failure_of
from planner.run.ownership import CaptureStep, StepOutcome
from planner.run.phases import ENDS, Phase
from planner.run.run_context import RunContext
from planner.run.waits import (
    ASK_RUN_STATE,
    await_copy,
    await_migration,
    await_run_state,
)
from planner.save.confirm import confirm
from planner.save.undo import undo_run

__all__ = ["SaveMachine"]


@define
class SaveMachine(Machine):
    """One run of one program; made by `of`.

    Attributes:
        context: What it knows of the VM, and its phase.
        program: Proved, with references to nodes still in it.
        deadline_s: Replaces every step's own deadline where set.
        gated: Whether it is a member of a group, and waits for the others at its gates.
    """

    program: Program = field(kw_only=True)
    deadline_s: float | None = None
    gated: bool = False
    _kept: KeptFile | None = field(init=False, default=None)
    _in_own_node: tuple[SnapshotInfo, ...] = field(init=False, default=())
    _copies: dict[str, KeptFile] = field(init=False, factory=dict)
    _failure: Failure | None = field(init=False, default=None)
    _number: int = field(init=False, default=0)

    @classmethod
    def of(
        cls,
        program: Program,
        baseline: Baseline,
        deadline_s: float | None = None,
        *,
        gated: bool = False,
    ) -> SaveMachine:
        """A run of a program on a VM that is as `baseline` says just now."""
        paused = program.resolution.run_state_before is RunStateAfter.PAUSED
        context = RunContext(baseline, holds_pause=paused)
        return cls(context, program=program, deadline_s=deadline_s, gated=gated)

    @classmethod
    def on(cls, program: Program, facts: Facts, deadline_s: float | None = None) -> SaveMachine:
        """A run of a program on the VM that was just asked for these facts."""
        return cls.of(program, baseline_of(facts), deadline_s)

    @property
    def only_copies_left(self) -> bool:
        """Whether nothing is left to do but to see copies whole, and to close and name their files."""
        left = self.program.steps[self._number - 1 :] if self._number else ()
        return bool(left) and all(ends_copy(step, self.program.resolution) for step in left)

    def _ended(self, outcome: Outcome) -> Outcome:
        self._failure = outcome.failure
        return outcome

    def again(self) -> Action | Outcome:
        """Begin the undo of a run anew that ended undone in part, or unknown; what to do next.

        Raises:
            InternalError: It did not end so.
        """
        ended = self.context.phase in (Phase.INCOMPLETE, Phase.UNKNOWN)
        if not ended or self._failure is None:
            raise InternalError("there is nothing to undo again", code="illegal-transition")
        self.context.phase = Phase.INSPECTING
        self._flow = undo_run(self.program, self.context, self._failure)
        return next(self._flow)

    def take_back(self) -> Action | Outcome:
        """Begin to undo what the run made, though nothing failed; what to do next.

        Raises:
            InternalError: It has been undone already, or never began.
        """
        if self._flow is None or self.context.phase in ENDS - {Phase.DONE}:
            raise InternalError("there is nothing to take back", code="illegal-transition")
        self.context.phase = Phase.INSPECTING
        failure = Failure("taken-back", "the end", "it was made to be measured")
        self._flow = undo_run(self.program, self.context, failure)
        return next(self._flow)

    def _run(self) -> Flow[Outcome]:
        try:
            self.context.go(Phase.STEPPING)
            yield from self._steps()
            self.context.go(Phase.CONFIRMING)
            look = yield from self._final_look()
            parts = yield from confirm(
                *(self.program, look, self.context, self._kept, self._in_own_node, self._copies)
            )
            if self.gated:
                yield from self._wait_at(Gate.COMMIT)  # nothing fails from here on
        except StepFailed as failed:
            self.context.go(Phase.INSPECTING)
            return (yield from undo_run(self.program, self.context, failed.failure))
        except Exception as error:  # noqa: BLE001 - a reply in a shape that nobody thought of, or a bug
            self.context.go(Phase.INSPECTING)
            return (yield from undo_run(self.program, self.context, failure_of(error, "reply")))
        self.context.go(Phase.DONE)
        return Outcome(
            Phase.DONE,
            look.run_state,
            parts,
            events=tuple(self.context.pauses),
        )

    def _steps(self) -> Flow[None]:
        count = len(self.program.steps)
        if self.program.resolution.freeze is not None:
            self.context.where = "the guest agent"
            yield from check_agent(self.context)  # before anything is done that cannot be undone
        gates = gates_of(self.program) if self.gated else {}
        for number, step in enumerate(self.program.steps, start=1):
            for gate in gates.get(number, ()):
                yield from self._wait_at(gate)
            self._number = number
            self.context.check_wishes()
            told = yield Tell(step.execute, number, count)
            if isinstance(told, Returned) and isinstance(told.value, int):
                self.context.host_us = told.value
            self.context.where = f"step {number} of {count} ({step.execute})"
            yield from self._step(step)
            self.context.check_pause_held()
        for gate in gates.get(count + 1, ()):
            yield from self._wait_at(gate)
        self.context.check_wishes()

    def _wait_at(self, gate: Gate) -> Flow[None]:
        """Wait for the other members; raises `StepFailed` where the group is given up."""
        self.context.check_wishes()
        self.context.where = f"the gate {gate.value!r} of the group"
        self.context.must_be_done((yield AtGate(gate)))
        if gate is not Gate.COMMIT:
            self.context.check_pause_held()

    def _final_look(self) -> Flow[Observation]:
        self.context.where = "the final check"
        look = yield from self.context.look()
        self.context.check_pause_held()
        return look

    def _step(self, step: Step) -> Flow[None]:
        self._begin(step)
        if step.target is Target.HOST:
            yield from self._host_step(step)
            return
        freeze = self.program.resolution.freeze
        if step.target is Target.AGENT and freeze is not None:
            yield from agent_step(self.context, step, freeze, self.deadline_s)
            return
        yield from self._look_before(step)
        told = yield from answers(
            Send(
                step.execute,
                bind(step.arguments, self.context.baseline.live_nodes),
                self.deadline_s or step.timeout_s,
                starts_deadline=True,
                descriptor=self._temporary if step.execute in _PASSING else "",
                then=_asked_behind(step),
            )
        )
        response = told[0]
        if isinstance(response, ErrorReply):
            self.context.end_capture(StepOutcome.FAILED)
        self.context.must_be_done(response)
        self._check_answer(step, told[1:])
        yield from self._await(step, told)
        self.context.end_capture(StepOutcome.APPLIED)
        for operation in step.covers:
            if operation.kind is Kind.DELETE_DISK_SNAPSHOT:
                self.context.forget_id(operation.disk, operation.detail)

    def _await(self, step: Step, told: tuple[Response, ...]) -> Flow[None]:
        """Wait for what a step waits for, beyond its reply."""
        if step.waits_for is WaitsFor.JOB:
            yield from self._await_job(
                str(step.arguments["job-id"]), self.deadline_s or step.timeout_s
            )
        elif step.waits_for in _RUN_STATES:
            yield from await_run_state(self.context, _RUN_STATES[step.waits_for], told[1])
            self.context.holds_pause = step.waits_for is WaitsFor.STOPPED
        elif step.waits_for in _STREAM_WAITS:
            yield from await_migration(self.context, step, self.deadline_s)
        elif step.waits_for is WaitsFor.COPIED:
            yield from self._await_copy(step, told[0])

    def _await_copy(self, step: Step, response: Response) -> Flow[None]:
        disk = step.covers[0].disk
        jobs = {copy.disk: copy.job for copy in self.program.resolution.copies}
        beside = [jobs[other] for other in self.context.copying if other != disk]
        reply = self.context.must_be_done(response)
        yield from await_copy(self.context, jobs[disk], reply, beside)
        self.context.copying.remove(disk)

    def _check_own_set(self, step: Step, told: tuple[Response, ...]) -> None:
        """QEMU writes to the first descriptor of a set that fits: it must be the only one (fact 75)."""
        number = step.arguments["fdset-id"]
        sets = self.context.must_be_done(told[0]) if told else None
        held = [found for found in descriptor_sets_of(sets) if found == number]
        if len(held) != 1:
            words = (
                f"QEMU's descriptor set {number} holds {len(held)} descriptors and should hold ours"
            )
            raise self.context.failed("descriptor-not-ours", words)

    def _check_answer(self, step: Step, told: tuple[Response, ...]) -> None:
        if step.execute == "add-fd":
            self._check_own_set(step, told)
        elif step.execute == "blockdev-del":
            self.context.taken_out(str(step.arguments["node-name"]))

    def _look_before(self, step: Step) -> Flow[None]:
        """See what the machine state's own node holds, while QEMU has it."""
        own = self.program.resolution.vmstate_node
        if step.execute != "blockdev-del" or own is None or step.arguments["node-name"] != own.node:
            return
        node = own.node
        nodes = self.context.must_be_done((yield Send("query-named-block-nodes", {"flat": True})))
        self._in_own_node = snapshots_of(nodes).get(node, ())

    @property
    def _temporary(self) -> str:
        own = self.program.resolution.state_file
        return "" if own is None else own.temporary

    def _host_step(self, step: Step) -> Flow[None]:
        timeout_s = self.deadline_s or step.timeout_s
        response = yield HostDo(step.execute, self._host_arguments(step), timeout_s)
        if isinstance(response, ErrorReply):
            if step in self.context.files:
                self.context.files.remove(step)  # nothing of it is left
            raise self.context.failed(response.error_class, response.description)
        told = self.context.must_be_done(response)
        if step.execute == "keep-copy" and isinstance(told, dict):
            self._copies[str(step.arguments["path"])] = KeptFile(int(told.get("size", 0)))
        if step.execute == "keep-stream" and isinstance(told, dict):
            self._kept = KeptFile(int(told.get("size", 0)), str(told.get("sha256", "")))
            if not self._kept.size_bytes:
                raise self.context.failed("stream-empty", "QEMU wrote no machine state to the file")

    def _host_arguments(self, step: Step) -> dict[str, object]:
        """What the host is told; disks become the images that they are on this VM."""
        arguments = dict(step.arguments)
        disks = arguments.pop("disks", None)
        if isinstance(disks, list | tuple):
            arguments["paths"] = [self.context.baseline.filenames[disk] for disk in disks]
        return arguments

    def _begin(self, step: Step) -> None:
        """Note what the step will have done if nothing more is heard of it."""
        self.context.begin_external(step)
        if step.execute == "cont":
            self.context.holds_pause = False
            self.context.sent_cont = True
        if step.execute == "stop":
            self.context.sent_stop = True
        if step.waits_for is WaitsFor.JOB:
            self.context.job_id = str(step.arguments["job-id"])
            self.context.sent_stop = True  # the job stops a running guest
            self.context.job_captures = bool(steps_disks(step))
        disks = steps_disks(step)
        if disks:
            context = self.context
            times = (context.last_event_us, context.host_us)
            context.captures.append(CaptureStep(disks, StepOutcome.UNKNOWN, step.atomic, *times))

    def _await_job(self, job_id: str, timeout_s: float) -> Flow[None]:
        silent = yield from await_job(self.context, job_id, timeout_s)
        if silent is not None:
            self.context.must_be_done(silent)
        reply = self.context.must_be_done((yield Send("query-jobs")))
        job, error = job_of(reply, job_id)
        yield from self._dismiss(job_id)
        if job is None:
            raise self.context.failed("job-vanished", f"another client dismissed job {job_id}")
        if error:
            self.context.end_capture(StepOutcome.FAILED)
            raise self.context.failed("job-failed", f"QEMU says: {error}")

    def _dismiss(self, job_id: str) -> Flow[None]:
        # Best effort: a concluded job that stays is a nuisance, not a failed snapshot.
        response = yield Send("job-dismiss", {"id": job_id})
        if isinstance(response, Returned):
            self.context.job_id = ""


_PASSING = ("getfd", "add-fd")
_RUN_STATES = {WaitsFor.STOPPED: "paused", WaitsFor.RUNNING: "running"}
_STREAM_WAITS = (WaitsFor.SWITCHOVER, WaitsFor.TRACKING, WaitsFor.MIGRATED)


def _asked_behind(step: Step) -> tuple[Send, ...]:
    if step.waits_for in _RUN_STATES:
        return (ASK_RUN_STATE,)
    return (Send("query-fdsets"),) if step.execute == "add-fd" else ()
