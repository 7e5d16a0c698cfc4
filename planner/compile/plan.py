"""A plan: a program, the request that it came from, and what the VM must still be when it runs.

`compile_request` is the whole way from a request to a plan.  `check_unchanged` is what stands
between a plan and a VM: the plan's request is resolved again, on the facts of now, and must come out
the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import evolve, field, frozen

from planner.compile.collector import collector_held_off
from planner.compile.designs import AUTO, choose_design
from planner.compile.graph import build_graph
from planner.compile.lower import lower
from planner.compile.resolve import resolve
from planner.compile.rules import RULES, Rule
from planner.errors import Problem, Refused, SnapplanError, VmChanged, in_order
from planner.model.facts import Facts
from planner.model.request import Request
from planner.model.request_text import ReadRequest
from planner.parts.kinds import MAKERS
from planner.program.program import Program, Target
from planner.program.resolution import Resolution, operations_of
from planner.program.schema import CommandSchema
from planner.verify.proof import verify

__all__ = [
    "Plan",
    "check_commands",
    "check_job_ids",
    "check_unchanged",
    "compile_request",
    "expectations",
]

_LACKING = "this QEMU lacks what the plan needs"


@frozen
class Plan:
    """A program with its request and its expectations.

    Attributes:
        request: What was asked for.
        program: What does it.
        expects: What the VM must still be, as flat names and values.
    """

    request: Request
    program: Program
    expects: Mapping[str, str] = field(hash=False)

    @property
    def is_daemon(self) -> bool:
        """Whether it is for a storage daemon, which has no machine."""
        return self.expects.get("machine") == ""


@collector_held_off()
def compile_request(
    read: ReadRequest, facts: Facts, design: str = AUTO, rules: Sequence[Rule] = RULES
) -> Plan:
    """Compile a request into a proved plan; without a VM, and with the collector held off.

    Args:
        read: The request as read.
        facts: The VM.
        design: A design's name, or `auto`.
        rules: The ordering rules; other than `RULES` only in tests and explorations.

    Raises:
        BadInput: The request is malformed, or the design unknown.
        Refused: It cannot be done safely, or this QEMU lacks a command or a member.
        Violation: The program breaks a rule: a mistake in the design.  Nothing is emitted.
    """
    resolution = resolve(read, facts)
    chosen, not_chosen = choose_design(design, resolution)
    graph = build_graph(operations_of(resolution), rules)
    steps = lower(graph, tuple(chosen.instructions(resolution)))
    program = Program(chosen.name, resolution, steps, not_chosen)
    verify(program)
    check_commands(program, facts)
    check_job_ids(program, facts)
    request = evolve(read.request, given=frozenset(), disks=tuple(sorted(read.request.disks)))
    return Plan(request, program, expectations(facts))


def check_commands(program: Program, facts: Facts) -> None:
    """Refuse a program that has a command or a member which this QEMU lacks.

    Raises:
        Refused: With one problem for each; nothing was sent.
    """
    schema = CommandSchema.of(facts.schema)
    problems = [
        problem
        for step in program.steps
        if step.target is Target.QMP
        for problem in schema.problems(step.execute, step.arguments)
    ]
    problems += [
        Problem("command-lacking", execute, "this QEMU has no such command")
        for execute in _needed_besides(program, facts)
        if not schema.has_command(execute)
    ]
    if problems:
        raise Refused(_LACKING, problems=in_order(problems), code="qemu-lacks")


def check_job_ids(program: Program, facts: Facts) -> None:
    """Refuse a program whose job id the VM still has: QEMU would, with the guest paused (fact 1).

    Raises:
        Refused: A run of the same request was cut off, and its job was never dismissed.
    """
    wanted = {step.arguments["job-id"] for step in program.steps if "job-id" in step.arguments}
    taken = [job for job in facts.jobs if job.id in wanted]
    if not taken:
        return
    why = "an earlier run of this request left a job of this id, which QEMU keeps until dismissed"
    problems = tuple(
        Problem(
            "job-id-taken", job.id, f"{why}; it is {job.status} (fact 1)",
            "once it is concluded, send job-dismiss with this id",
        )
        for job in sorted(taken, key=lambda job: job.id)
    )  # fmt: skip
    raise Refused(
        "the VM still has a job of an earlier run", problems=problems, code="job-id-taken"
    )


def _needed_besides(program: Program, facts: Facts) -> Iterator[str]:
    """What a run needs beside the program's own commands: to look, and to undo."""
    yield from ("query-named-block-nodes", "query-jobs")
    if not facts.is_daemon:
        yield from ("query-status", "stop", "cont")
    for making in MAKERS:
        yield from making.commands(program.resolution)
    if any(step.execute == "snapshot-save" for step in program.steps):
        yield "job-dismiss"


def expectations(facts: Facts) -> dict[str, str]:
    """What a plan takes for granted about a VM, as flat names and values that a reader can compare."""
    expected = {
        "qemu": str(facts.qemu),
        "machine": facts.machine,
        "target": facts.target,
        "run-state": facts.run_state,
        "vm": facts.vm_uuid or facts.vm_name,
    }
    for disk in facts.disks:
        access = "read-only" if disk.read_only else "writable"
        attached = "attached" if disk.attached else "unattached"
        expected[f"disk {disk.name}"] = (
            f"{disk.driver}, {disk.virtual_size_bytes} bytes, {access}, {attached}, "
            f"node {disk.node}, root {disk.root}, {disk.filename}"
        )
    return expected


def check_unchanged(plan: Plan, facts: Facts) -> Resolution:
    """Make sure that a plan still fits its VM, before its first step.

    Args:
        plan: A plan, perhaps from a file.
        facts: The VM as it is now.

    Returns:
        The resolution on the facts of now, equal to the plan's own.

    Raises:
        VmChanged: With one problem for each difference; nothing but queries was sent.
    """
    problems = list(_differences(plan.expects, expectations(facts)))
    resolution = None
    try:
        resolution = resolve(ReadRequest(plan.request), facts)
        check_commands(plan.program, facts)
        check_job_ids(plan.program, facts)
    except SnapplanError as error:
        problems.extend(error.problems)
    same = resolution is not None and _essence(resolution) == _essence(plan.program.resolution)
    if not problems and not same:
        problems.append(
            Problem("resolution-differs", "plan", "the request would be decided otherwise now")
        )
    if problems or resolution is None:
        raise VmChanged("the VM is no longer what was planned for", problems=in_order(problems))
    return resolution


def _essence(resolution: Resolution) -> Resolution:
    return evolve(resolution, choices=(), warnings=())


def _differences(expected: Mapping[str, str], found: Mapping[str, str]) -> Iterator[Problem]:
    for name in sorted({*expected, *found}):
        was, now = expected.get(name), found.get(name)
        if was == now:
            continue
        if now is None:
            yield Problem("vm-changed", name, f"it is gone; it was: {was}", "plan again")
        elif was is None:
            yield Problem("vm-changed", name, f"it is new: {now}", "plan again")
        else:
            yield Problem("vm-changed", name, f"it was {was!r} and is {now!r}", "plan again")
