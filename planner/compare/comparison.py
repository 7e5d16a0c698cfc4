"""Designs side by side for one request: what each can, costs, promises, and leaves where it fails.

Theory: nothing here is told by a design about itself.  The program is compiled and verified; what it
sends and what a fault leaves come from rehearsing it; which QEMU can do it from the QEMUs' schemas.
Only the predicted pause is an estimate, of a stated model.  Where the request's machine state does not
fit a design, it is adapted (`planner.compare.request_per_design`).
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve, field, frozen

from planner.compare.on_versions import VersionReport, version_reports
from planner.compare.predicting import Prediction, predict
from planner.compare.rehearsal import Rehearsal, Span, faults_of, rehearse
from planner.compare.request_per_design import Adapted, adapt
from planner.compile.designs import DESIGNS, choose_design
from planner.compile.graph import build_graph
from planner.compile.lower import lower
from planner.compile.plan import check_commands
from planner.compile.resolve import resolve
from planner.errors import Problem, Refused, Violation
from planner.model.facts import Facts
from planner.model.operations import Kind
from planner.model.request_text import ReadRequest
from planner.program.program import Program, Target
from planner.program.resolution import Resolution, operations_of
from planner.program.rule_ids import RuleId
from planner.run.leftovers import file_left
from planner.run.phases import Phase
from planner.verify.proof import violations

__all__ = [
    "PROPERTIES",
    "DesignReport",
    "Explored",
    "FaultReport",
    "Measurement",
    "Prediction",
    "VersionReport",
    "compare_designs",
    "design_names",
]

PROPERTIES: tuple[str, ...] = tuple(RuleId)
"""What the verifier checks of every program (`specs/invariants.md`)."""


@frozen
class FaultReport:
    """What a run leaves where one step goes wrong, undo included.

    Attributes:
        step: Number of the step, from 1.
        command: Its command.
        fault: What goes wrong with it.
        end: How the run ends: ``undone``, ``incomplete`` or ``unknown``.
        undone: What is undone, in words.
        left: What is still there afterwards.
    """

    step: int
    command: str
    fault: str
    end: str
    undone: tuple[str, ...]
    left: tuple[Problem, ...]


@frozen
class Measurement:
    """What one run took; times in microseconds: the pause by the VM's clock, the others by snapplan's.

    A simulated VM's clock is virtual: its pause compares with no other time.

    Attributes:
        pause_us: From STOP to RESUME by QEMU's clock; None: the guest was not paused.
        total_us: From the first command to the end of the final check.
        longest_us: The longest round trip of a command.
        longest_command: Which command that was.
        silence_us: The longest time that QEMU said nothing while an event was awaited.
        vm_state_bytes: Machine state in the snapshot.
        grown_bytes: How much image files grew, new ones too; what an earlier run freed is used first.
        spans: What was sent, from the first command on.
        pauses: STOP and RESUME, on the same axis.
    """

    pause_us: int | None
    total_us: int
    longest_us: int
    longest_command: str
    silence_us: int
    vm_state_bytes: int
    grown_bytes: int
    spans: tuple[Span, ...]
    pauses: tuple[tuple[str, int], ...]


@frozen
class Explored:
    """What every run of a design comes to, with one fault at most (`planner.explore`).

    Attributes:
        violated: The properties that some run violates.
        finished: Whether every run was tried.
        stops_short: Why the design was not explored; empty: it was.
        client_dies: The same where the client's death is a fault too, and nobody comes after it.
        client_recovered: The same where somebody recovers.
    """

    violated: tuple[str, ...] = ()
    finished: bool = True
    stops_short: str = ""
    client_dies: tuple[str, ...] = ()
    client_recovered: tuple[str, ...] = ()


@frozen
class DesignReport:
    """One design and one request.

    Attributes:
        design: Its name.
        problems: Why it cannot do the request; empty: it can.
        program: What it makes of it.
        rehearsal: A run without faults; None where it cannot do the request.
        inside_pause: Operations between pause and resume, in order.
        proved: Properties that hold.
        broken: Properties that do not.
        faults: What each fault leaves.
        versions: Which QEMU has what it sends.
        prediction: Its pause by the model; None: it pauses nothing.
        measured: Its figures on a VM, where that was asked for; of several runs, a typical one.
        runs: All its runs that were measured, in their order.
        proposed: The commands of a design that is a file: nothing of it can be sent.
        explored: What every run of it comes to, where somebody explored it.
        adapted: What of the request was made to fit the design, in words.
    """

    design: str
    problems: tuple[Problem, ...] = ()
    program: Program | None = None
    rehearsal: Rehearsal | None = None
    inside_pause: tuple[str, ...] = ()
    proved: tuple[str, ...] = ()
    broken: tuple[Problem, ...] = ()
    faults: tuple[FaultReport, ...] = ()
    versions: tuple[VersionReport, ...] = ()
    prediction: Prediction | None = None
    measured: Measurement | None = field(default=None)
    runs: tuple[Measurement, ...] = ()
    proposed: tuple[str, ...] = ()
    explored: Explored | None = None
    adapted: tuple[str, ...] = ()

    @property
    def commands(self) -> tuple[str, ...]:
        """What it sends to QEMU, or would send."""
        if self.program is None:
            return self.proposed
        return tuple(s.execute for s in self.program.steps if s.target is Target.QMP)

    @property
    def on_host(self) -> tuple[str, ...]:
        """What it does with files on the host."""
        if self.program is None:
            return ()
        return tuple(s.execute for s in self.program.steps if s.target is Target.HOST)

    @property
    def machine_state(self) -> str:
        """Where the machine state goes, in words; empty where that is not known."""
        if self.program is None:
            return ""
        resolution = self.program.resolution
        if resolution.stream is not None:
            return f"external, {resolution.stream.capture}"
        if resolution.vmstate_node is not None:
            return "an image of its own"
        return f"internal, {resolution.vmstate}" if resolution.vmstate else "none"

    @property
    def sent_in_pause(self) -> int:
        """How many round trips begin while the guest stands still because of this run."""
        if self.rehearsal is None or self.program is None or not self.program.resolution.pauses:
            return 0
        return sum(span.paused and not span.behind for span in self.rehearsal.spans)

    @property
    def round_trips(self) -> tuple[tuple[str, ...], ...]:
        """The commands that its run sends, those together that go in one round trip."""
        if self.rehearsal is None:
            return ()
        trips: list[list[str]] = []
        for span in self.rehearsal.spans:
            if span.behind:
                trips[-1].append(span.command)
            else:
                trips.append([span.command])
        return tuple(map(tuple, trips))


def design_names(wanted: str) -> tuple[str, ...]:
    """The designs to compare, from a list parted by commas; empty: all."""
    names = tuple(name.strip() for name in wanted.split(",") if name.strip())
    return tuple(dict.fromkeys(names)) or tuple(design.name for design in DESIGNS)


def compare_designs(
    read: ReadRequest, facts: Facts, designs: tuple[str, ...], memory_bytes: int | None = None
) -> tuple[DesignReport, ...]:
    """Compare designs for a request, its machine state put where each design can put it.

    Args:
        read: The request.
        facts: The VM.
        designs: Names of designs.
        memory_bytes: The guest's memory, where known.

    Raises:
        BadInput: The request is malformed, or a design unknown.
        Refused: No design can do the request, nor any that it can be adapted to.
    """
    adapted = [adapt(read, facts, name) for name in designs]
    found = [_resolved(one.read, facts) for one in adapted]
    if found and all(isinstance(one, Refused) for one in found):
        resolve(read, facts)  # no design is to blame: what is asked for cannot be done
    return tuple(
        DesignReport(name, one.problems, adapted=how.notes)
        if isinstance(one, Refused)
        else _report(name, how, one, facts, memory_bytes)
        for name, how, one in zip(designs, adapted, found, strict=True)
    )


def _resolved(read: ReadRequest, facts: Facts) -> Resolution | Refused:
    try:
        return resolve(read, facts)
    except Refused as refused:
        return refused


def _report(
    name: str, adapted: Adapted, resolution: Resolution, facts: Facts, memory: int | None
) -> DesignReport:
    try:
        design, _ = choose_design(name, resolution)
        graph = build_graph(operations_of(resolution))
        program = Program(
            design.name, resolution, lower(graph, tuple(design.instructions(resolution)))
        )
    except (Refused, Violation) as error:
        return DesignReport(name, error.problems, adapted=adapted.notes)
    broken = violations(program)
    rules = {problem.code for problem in broken}
    rehearsal = rehearse(program, facts)
    lacking = _lacking(program, facts)
    report = DesignReport(
        design=name,
        problems=lacking,
        program=program,
        rehearsal=rehearsal,
        inside_pause=tuple(_inside_pause(program)),
        proved=tuple(rule for rule in PROPERTIES if rule not in rules),
        broken=broken,
        faults=tuple(_faults(program, facts)),
        versions=tuple(version_reports(adapted.read, facts, name)),
        adapted=adapted.notes,
    )
    return evolve(report, prediction=predict(program, report.sent_in_pause, memory))


def _lacking(program: Program, facts: Facts) -> tuple[Problem, ...]:
    try:
        check_commands(program, facts)
    except Refused as error:
        return error.problems
    return ()


def _inside_pause(program: Program) -> Iterator[str]:
    if not program.resolution.pauses:
        return
    inside = False
    for operation in (op for step in program.steps for op in step.covers):
        if operation.kind is Kind.RESUME_GUEST:
            inside = False
        if inside:
            yield str(operation)
        if operation.kind is Kind.PAUSE_GUEST:
            inside = True


def _faults(program: Program, facts: Facts) -> Iterator[FaultReport]:
    for number, step in enumerate(program.steps, start=1):
        for fault in faults_of(step):
            rehearsal = rehearse(program, facts, number, fault)
            outcome = rehearsal.outcome
            left = outcome.left
            if outcome.phase is not Phase.DONE:
                left = (*left, *(file_left(file) for file in rehearsal.files))
            yield FaultReport(
                number, step.execute, fault, outcome.phase.value, outcome.undone, left
            )
            if outcome.phase is Phase.DONE:
                break
