"""What a run knows of its VM while it runs: what was sent, what was heard, what it may rely on."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, evolve, field

from planner.model.operations import Kind
from planner.model.replies import jobs_of, run_state_of, snapshots_of
from planner.program.program import Step, Target
from planner.run.actions import (
    ErrorReply,
    Flow,
    Response,
    Returned,
    Send,
)
from planner.run.conversation import Conversation, StepFailed, answers
from planner.run.observation import Baseline, Observation
from planner.run.outcome import Failure
from planner.run.ownership import CaptureStep, StepOutcome
from planner.run.phases import Phase, check_transition
from planner.run.ports import Event

__all__ = ["JOB_ENDS", "RunContext"]


JOB_ENDS = ("concluded", "null")
_SETTINGS = ("migrate-set-capabilities", "migrate-set-parameters")


@define
class RunContext(Conversation):
    """The run's memory, beside what was said.

    Attributes:
        baseline: The VM just before the run, less what the run was asked to replace.
        phase: Where the run is.
        interrupted: Whether the user wants it stopped.
        job_id: A job of ours that is not dismissed; empty: none.
        job_status: The last status heard of it.
        job_captures: Whether it makes parts of disks, which undo deletes by id: the last capturing step.
        last_event_us: QEMU's clock at the last event heard; 0: none yet.
        host_us: This machine's clock when the step in hand began, where QEMU runs here; else 0.
        captures: The capturing steps that were sent.
        pauses: STOP and RESUME events with their times in microseconds.
        resumed_by_other: Whether a RESUME came that was not ours.
        migrating: Whether a stream was begun whose end has not been seen.
        settings_changed: Whether the VM's migration settings may be other than they were.
        passed_descriptor: Whether QEMU may hold the stream's descriptor.
        added: Disks whose overlay's node may be there, in order.
        targets: Disks with a node of their copy's file that may be there, in order.
        copying: Disks whose copy may be under way.
        written: Disks whose overlay may hold what the guest wrote, and the base does not.
        unheld: Of these, those that an undo merged while clients wrote: a storage daemon has no guest.
        files: Host steps that may have made something, in order.
        owes_thaw: Whether the guest's file systems may be frozen by this run.
        frozen_count: How many the agent says that it froze.
    """

    baseline: Baseline
    phase: Phase = Phase.READY
    interrupted: bool = False
    job_id: str = ""
    job_status: str = ""
    job_captures: bool = True
    last_event_us: int = 0
    host_us: int = 0
    captures: list[CaptureStep] = field(factory=list)
    pauses: list[tuple[str, int]] = field(factory=list)
    resumed_by_other: bool = False
    migrating: bool = False
    settings_changed: bool = False
    passed_descriptor: bool = False
    added: list[str] = field(factory=list)
    targets: list[str] = field(factory=list)
    copying: list[str] = field(factory=list)
    written: set[str] = field(factory=set)
    unheld: set[str] = field(factory=set)
    files: list[Step] = field(factory=list)
    owes_thaw: bool = False
    frozen_count: int = 0

    @property
    def job_ended(self) -> bool:
        """Whether the job has ended, as far as was heard.

        ``null`` comes with ``concluded`` where another client dismisses the job at once: it is gone.
        """
        return self.job_status in JOB_ENDS

    def go(self, phase: Phase) -> None:
        """Enter a phase; raises `InternalError` where the table has no such way."""
        check_transition(self.phase, phase)
        self.phase = phase

    def note_event(self, event: Event) -> None:
        """Take in an event."""
        self.last_event_us = max(self.last_event_us, event.timestamp_us)
        if event.name == "JOB_STATUS_CHANGE" and event.data.get("id") == self.job_id:
            self.job_status = str(event.data.get("status"))
            if self.job_status == "created" and self.captures and self.job_captures:
                self.captures[-1] = evolve(self.captures[-1], since_us=event.timestamp_us)
        elif event.name in ("STOP", "RESUME"):
            self.pauses.append((event.name, event.timestamp_us))
            if event.name == "RESUME" and self.holds_pause:
                self.resumed_by_other = True

    def begin_external(self, step: Step) -> None:
        """Note what a step may have done beside the internal parts if nothing more is heard of it."""
        if step.target is Target.HOST:
            self.files.extend([step] if step.undo else [])
        elif step.execute == "migrate":
            self.migrating = True
            self.sent_stop = True  # a live one stops the guest by itself
        elif step.execute == "blockdev-add":
            self.added.extend(o.disk for o in step.covers if o.kind is not Kind.ADD_TARGET)
            self.targets.extend(o.disk for o in step.covers if o.kind is Kind.ADD_TARGET)
        elif step.execute == "transaction":
            self.copying.extend(o.disk for o in step.covers if o.kind is Kind.BEGIN_COPY)
            self.written |= {o.disk for o in step.covers if o.kind is Kind.SWITCH_TO_OVERLAY}
        elif step.execute in _SETTINGS:
            self.settings_changed = True
        elif step.execute in ("getfd", "add-fd"):
            self.passed_descriptor = True

    def taken_out(self, node: str) -> None:
        """Note that a node of the run's own is out of QEMU; those of copies go by their disk."""
        if node in self.added:
            self.added.remove(node)

    def end_capture(self, attempt: StepOutcome) -> None:
        """Note how the last capturing step ended, where one is open."""
        if self.captures and self.captures[-1].attempt is StepOutcome.UNKNOWN:
            self.captures[-1] = evolve(self.captures[-1], attempt=attempt)

    def note_made(self, disks: Iterable[str]) -> None:
        """Note that a step of unknown outcome is now known to have made parts on these disks."""
        made = set(disks)
        self.captures = [
            evolve(c, attempt=StepOutcome.APPLIED) if made.intersection(c.disks) else c
            for c in self.captures
        ]

    def forget_id(self, disk: str, snapshot_id: str) -> None:
        """Note that a snapshot from before the run is gone: qcow2 may give its id to the new one."""
        ids = {**self.baseline.ids, disk: self.baseline.ids[disk] - {snapshot_id}}
        self.baseline = evolve(self.baseline, ids=ids)

    def must_be_done(self, response: Response) -> object:
        """What came back; raises `StepFailed` where nothing did."""
        if isinstance(response, Returned):
            return response.value
        if isinstance(response, ErrorReply):
            raise self.refused(response)
        self.connected = not response.lost
        late = "frozen-too-long" if self.owes_thaw else "deadline-passed"
        code = "connection-lost" if response.lost else late
        raise self.failed(code, response.why)

    def check_wishes(self) -> None:
        """Raise where the user wants the run stopped."""
        if self.interrupted:
            raise StepFailed(
                Failure("interrupted", self.where or "the start", "interrupted", interrupted=True)
            )

    def check_pause_held(self) -> None:
        """Raise where somebody else let the guest run inside the pause."""
        if self.resumed_by_other:
            raise self.failed(
                "resumed-by-other",
                "another QMP client resumed the guest inside the pause: the parts are of "
                "different instants",
            )

    def look(self) -> Flow[Observation]:
        """See what the VM holds and does; raises `StepFailed` where it does not answer."""
        look = Send(
            "query-named-block-nodes",
            {"flat": True},
            then=(Send("query-jobs"), Send("query-status")),
        )
        told = yield from answers(look)
        nodes, jobs, status = [self.must_be_done(each) for each in told]
        return Observation(run_state_of(status), snapshots_of(nodes), jobs_of(jobs))
