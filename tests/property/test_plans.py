"""What holds of every plan, over generated VMs and requests, in every design."""

import json
import os
import random
import subprocess
import sys

import networkx as nx
import pytest
from attrs import evolve
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from planner.compile.graph import build_graph, canonical_order
from planner.compile.plan import check_unchanged, compile_request
from planner.compile.plan_text import plan_to_text, read_plan
from planner.compile.resolve import resolve
from planner.compile.rules import RULES
from planner.errors import BadInput, InternalError, Refused, SnapplanError
from planner.model.facts_text import facts_to_plain, read_facts
from planner.model.operations import Kind
from planner.model.request import (
    Capture,
    FreezeFilesystems,
    ImageMachineState,
    InternalMachineState,
    NoMachineState,
    RunStateAfter,
)
from planner.model.request_text import ReadRequest, read_request, request_to_plain
from planner.program.resolution import operations_of
from tests.property import oracle
from tests.property.topologies import anything, fitting, replacing

DESIGNS = ("monolithic", "transactional", "auto")
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def compiled(facts, request, design, **more):
    """A plan, or no plan where this design cannot do the request."""
    try:
        return compile_request(ReadRequest(request), facts, design, **more)
    except Refused as refused:
        assume(refused.code not in ("design-cannot", "request-refused"))
        raise


@pytest.mark.parametrize("design", DESIGNS)
@QUICK
@given(fitting())
def test_every_program_does_what_was_asked_in_a_right_order(design, case):
    """A second reading of the commands finds every part once, of one instant, in the right order."""
    facts, request = case
    oracle.check(compiled(facts, request, design).program, facts, request)


@pytest.mark.parametrize("design", ["transactional", "vmstate-node"])
@settings(QUICK, max_examples=25)
@given(fitting(external=True))
def test_overlays_copies_and_machine_state_of_its_own_come_in_a_right_order(design, case):
    """The same second reading: each part once, of one instant, what is slow outside of the pause."""
    facts, request = case
    if design == "vmstate-node":
        request = evolve(request, machine_state=ImageMachineState("/vm/state"))
    elif not isinstance(request.machine_state, InternalMachineState):
        request = evolve(request, machine_state=NoMachineState())
    oracle.check(compiled(facts, request, design).program, facts, request)


@pytest.mark.parametrize("design", DESIGNS)
@QUICK
@given(replacing())
def test_what_is_replaced_goes_before_the_pause_and_nothing_else_goes(design, case):
    """Just the snapshots of the tag are deleted, each by its id, before anything is captured."""
    facts, request = case
    plan = compiled(facts, request, design)
    oracle.check(plan.program, facts, request)
    deleted = [
        (step.arguments["device"], step.arguments["id"])
        for step in plan.program.steps
        if step.execute == "blockdev-snapshot-delete-internal-sync"
    ]
    held = [(disk.root, old.id) for disk in facts.disks for old in disk.holding(request.tag)]
    assert sorted(deleted) == sorted(held)


def freezing():
    """Cases of a running guest whose file systems are frozen around the capture of its disks."""

    def frozen(case):
        facts, request = case
        return evolve(facts, run_state="running"), evolve(
            request,
            machine_state=NoMachineState(),
            run_state_after=RunStateAfter.AS_BEFORE,
            freeze=FreezeFilesystems("/vm/agent.sock"),
        )

    return st.one_of(fitting(external=True), replacing()).map(frozen)


@QUICK
@given(freezing())
def test_only_captures_lie_between_freeze_and_thaw(case):
    """Whatever else a program does comes before the one or after the other."""
    facts, request = case
    try:
        plan = compile_request(ReadRequest(request), facts, "transactional")
    except Refused:
        assume(False)
    oracle.check(plan.program, facts, request)
    check_graph(graph_of(facts, request))


def before(graph, first, second):
    return all(nx.has_path(graph, a, b) for a in first for b in second)


def ops(graph, *kinds, disk=None):
    return [n for n in graph if n.kind in kinds and disk in (None, n.disk)]


def check_graph(graph):
    """Every ordering rule, as a path in the graph; told apart from the rules' own edges."""
    for write in ops(graph, Kind.WRITE_VMSTATE):
        snapshot = ops(graph, Kind.SNAPSHOT_DISK, disk=write.disk)
        discard = ops(graph, Kind.DISCARD_VMSTATE, disk=write.disk)
        assert before(graph, [write], snapshot), "vmstate-before-snapshot"
        assert before(graph, snapshot, discard), "snapshot-before-discard"
    pause, resume = ops(graph, Kind.PAUSE_GUEST), ops(graph, Kind.RESUME_GUEST)
    captures = ops(graph, Kind.WRITE_VMSTATE, Kind.SNAPSHOT_DISK, Kind.SWITCH_TO_OVERLAY)
    captures += ops(graph, Kind.BEGIN_COPY)
    begin, end = ops(graph, Kind.BEGIN_STREAM_VMSTATE), ops(graph, Kind.END_STREAM_VMSTATE)
    captures += [op for op in begin if op.detail == Capture.BACKGROUND]
    captures += [op for op in end if op.detail != Capture.BACKGROUND]
    assert before(graph, pause, captures), "one-instant"
    assert before(graph, captures, resume), "one-instant"
    for add in ops(graph, Kind.ADD_OVERLAY):
        switch = ops(graph, Kind.SWITCH_TO_OVERLAY, disk=add.disk)
        assert before(graph, [add], switch + pause), "overlay-ready"
    for add in ops(graph, Kind.ADD_TARGET, Kind.ADD_VMSTATE_NODE):
        used = ops(graph, Kind.BEGIN_COPY, Kind.WRITE_VMSTATE, disk=add.disk)
        assert before(graph, [add], used + pause), "overlay-ready"
    for begun in ops(graph, Kind.BEGIN_COPY):
        ended = ops(graph, Kind.END_COPY, disk=begun.disk)
        thaw = ops(graph, Kind.THAW_FILESYSTEMS)
        assert before(graph, [begun, *resume, *thaw], ended), "copy-after-resume"
    assert before(graph, ops(graph, Kind.SNAPSHOT_DISK), end), "nodes-active"
    assert before(graph, begin, end), "nodes-active"
    background = [op for op in begin if op.detail == Capture.BACKGROUND]
    assert before(graph, background, resume), "tracking-before-resume"
    freeze, thaw = ops(graph, Kind.FREEZE_FILESYSTEMS), ops(graph, Kind.THAW_FILESYSTEMS)
    slow = ops(graph, Kind.ADD_OVERLAY, Kind.DELETE_DISK_SNAPSHOT, Kind.ADD_TARGET)
    assert before(graph, slow, freeze), "frozen-capture"
    assert before(graph, freeze, captures + thaw), "frozen-capture"
    assert before(graph, captures, thaw), "frozen-capture"
    for delete in ops(graph, Kind.DELETE_DISK_SNAPSHOT):
        own = ops(graph, Kind.SNAPSHOT_DISK, Kind.WRITE_VMSTATE, disk=delete.disk)
        assert before(graph, [delete], own + pause), "old-until-new"


def graph_of(facts, request, rules=RULES):
    return build_graph(operations_of(resolve(ReadRequest(request), facts)), rules)


def resolved_graph(facts, request, rules=RULES):
    try:
        return graph_of(facts, request, rules)
    except Refused:
        assume(False)


@QUICK
@given(st.one_of(fitting(external=True), replacing(), freezing()))
def test_the_graph_keeps_every_ordering_rule_for_external_parts_too(case):
    """For overlays and streams, which no design does yet, the graph holds every rule as a path."""
    check_graph(resolved_graph(*case))


def breaks_something(facts, request, rules):
    """Whether these rules let something wrong through: in the graph, or in a program."""
    try:
        check_graph(graph_of(facts, request, rules))
    except AssertionError:
        return True
    for design in ("monolithic", "transactional", "vmstate-node"):
        try:
            plan = compile_request(ReadRequest(request), facts, design, rules)
            oracle.check(plan.program, facts, request)
        except Refused:
            continue
        except (AssertionError, SnapplanError):
            return True
    return False


OF_EXTERNAL_PARTS = {
    "overlay-ready",
    "nodes-active",
    "tracking-before-resume",
    "stream-after-resume",
}
"""Rules of what these cases do not have; `test_external.py` shows their need."""


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    "dropped",
    [rule for rule in RULES if rule.id not in OF_EXTERNAL_PARTS],
    ids=lambda rule: rule.id,
)
def test_without_any_one_rule_some_property_fails(dropped):
    """Each ordering rule is needed: without it hypothesis finds a snapshot that goes wrong."""
    rules = tuple(rule for rule in RULES if rule is not dropped)
    found = []

    @settings(max_examples=300, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.one_of(fitting(external=True), replacing(), freezing()))
    def search(case):
        if found:
            return
        try:
            resolve(ReadRequest(case[1]), case[0])
        except Refused:
            return
        if breaks_something(*case, rules):
            found.append(case)

    search()
    assert found, f"nothing goes wrong without {dropped.id}"
    facts, request = found[0]
    assert not breaks_something(facts, request, RULES), "the case is wrong with all rules, too"


@pytest.mark.parametrize("design", DESIGNS)
@QUICK
@given(fitting(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_change_a_byte(design, case, dice):
    """Disks of facts and request in any order give the same plan file."""
    facts, request = case
    text = plan_to_text(compiled(facts, request, design))
    shuffled_disks, shuffled_wishes = list(facts.disks), list(request.disks)
    dice.shuffle(shuffled_disks)
    dice.shuffle(shuffled_wishes)
    again = compiled(
        evolve(facts, disks=tuple(shuffled_disks)),
        evolve(request, disks=tuple(shuffled_wishes)),
        design,
    )
    assert plan_to_text(again) == text


def test_the_hash_seed_does_not_change_a_byte():
    """Python's hash seed, which orders sets, does not reach a plan file."""
    code = (
        "import sys; sys.argv = ['snapplan', 'plan', 'specs/examples/twenty-disks.yaml', '--facts',"
        "'specs/examples/twenty-disks.facts.json', '--design', 'transactional', '-o', '-'];"
        "from planner.cli.main import main; main()"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (0, 1, 4242)
    }
    assert len(texts) == 1
    assert texts.pop().startswith("{")


@QUICK
@given(fitting())
def test_plans_facts_and_requests_survive_their_files(case):
    """What is written is read back equal, and written again the same."""
    facts, request = case
    assert read_facts(json.dumps(facts_to_plain(facts))) == facts
    read = read_request(json.dumps(request_to_plain(request)))
    assert not read.problems
    assert read.request == request
    plan = compiled(facts, request, "auto")
    again = read_plan(plan_to_text(plan))
    assert again == plan
    assert plan_to_text(again) == plan_to_text(plan)
    check_unchanged(again, facts)


@pytest.mark.parametrize("design", DESIGNS)
@QUICK
@given(anything())
def test_a_request_gives_a_right_program_or_reasons_and_nothing_else(design, case):
    """Whatever is asked of whatever VM: a program that the oracle accepts, or coded refusals."""
    facts, request = case
    plan, problems = plan_or_problems(facts, request, design)
    if plan is None:
        assert problems
        assert all(problem.code and problem.message for problem in problems)
        return
    named = dict(request.disks)
    if set(named) == {disk.name for disk in facts.disks}:
        oracle.check(plan.program, facts, request)
    touched = {part.disk for part in plan.program.resolution.internal}
    assert not touched & set(plan.program.resolution.excluded)


def plan_or_problems(facts, request, design):
    try:
        return compile_request(ReadRequest(request), facts, design), ()
    except (Refused, BadInput) as refused:
        return None, refused.problems


@QUICK
@given(fitting(external=True))
def test_the_canonical_order_keeps_every_edge(case):
    """The canonical order is an order of the graph, and the same for a graph built in reverse."""
    facts, request = case
    operations = list(operations_of(resolve_or_assume(facts, request)))
    graph = build_graph(operations)
    order = canonical_order(graph)
    place = {operation: number for number, operation in enumerate(order)}
    assert all(place[a] < place[b] for a, b in graph.edges)
    random.Random(1).shuffle(operations)
    assert canonical_order(build_graph(operations)) == order


def resolve_or_assume(facts, request):
    try:
        return resolve(ReadRequest(request), facts)
    except Refused:
        assume(False)


def test_a_contradiction_of_rules_is_reported_edge_by_edge():
    """Rules that contradict each other name each edge of the cycle and the rule that demands it."""
    from planner.compile.rules import Rule
    from planner.model.operations import Operation

    pause, resume = Operation(Kind.PAUSE_GUEST), Operation(Kind.RESUME_GUEST)
    forth = Rule("forth", "", lambda _: iter([(pause, resume)]))
    back = Rule("back", "", lambda _: iter([(resume, pause)]))
    with pytest.raises(InternalError) as caught:
        canonical_order(build_graph([pause, resume], (forth, back)))
    assert caught.value.code == "ordering-cycle"
    assert sorted(problem.subject for problem in caught.value.problems) == [
        "PauseGuest()",
        "ResumeGuest()",
    ]
    assert {"forth", "back"} == {
        problem.message.rsplit(" ", 1)[1] for problem in caught.value.problems
    }
