"""Every ordering rule and every step of undo is needed: without it, something goes wrong.

Rules are tried without any design: each operation is sent alone, in every order that the rules allow.
Rules about external parts are tried on a request with an overlay and a stream.
"""

import itertools

import networkx as nx
import pytest
from attrs import evolve

from planner.compile.graph import build_graph
from planner.compile.rules import EDGE_RULE_IDS, RULES
from planner.explore.instruction import Instruction
from planner.explore.search import explore
from planner.explore.setting_of import setting_of
from planner.explore.state import UNDO_STEPS, Act, Action
from planner.model.facts import SnapshotInfo
from planner.model.operations import Kind, Operation
from planner.model.request import Capture
from planner.program.resolution import operations_of
from tests.model.exploring import case, facts_of, resolution_of, setting_for

OLD = SnapshotInfo("1", "new", vm_clock_ns=5, vm_state_size_bytes=99, date_ns=5)
NEEDED = {
    "vmstate-before-snapshot": "holds-machine-state",
    "snapshot-before-discard": "holds-machine-state",
    "one-instant": "one-instant",
    "old-until-new": "complete",
}
EXTERNAL = {
    "overlay-ready": (Capture.STOPPED, {"complete", "pause-short"}),
    "nodes-active": (Capture.STOPPED, {"complete"}),
    "tracking-before-resume": (Capture.BACKGROUND, {"one-instant", "loadable"}),
    "stream-after-resume": (Capture.BACKGROUND, {"pause-short"}),
    "one-instant": (Capture.LIVE, {"one-instant", "loadable"}),
}


def violated_in_some_order(rules, disks=1):
    """What some order that these rules allow violates, each operation sent alone, nothing striking."""
    facts = facts_of(disks, snapshots=(OLD,))
    resolution = resolution_of(facts, more="existing-tag: replace")
    graph = build_graph(operations_of(resolution), rules)
    found = set()
    for order in nx.all_topological_sorts(graph):
        instructions = [Instruction(str(op), (op,), (0,)) for op in order]
        found.update(explore(setting_of(resolution, instructions, "rules", facts)).violated)
    return found


def violated_with_a_stream(rules, capture):
    """The same for a request with an internal disk, an overlay and a stream."""
    facts, resolution = case(CAPTURED[capture]).values()
    graph = build_graph(operations_of(resolution), rules)
    found = set()
    for order in nx.all_topological_sorts(graph):
        instructions = [Instruction(str(op), (op,), (0,), waits_for_tracking=True) for op in order]
        found.update(explore(setting_of(resolution, instructions, "rules", facts)).violated)
    return found


CAPTURED = {
    Capture.STOPPED: "external",
    Capture.LIVE: "live",
    Capture.BACKGROUND: "background",
}


@pytest.mark.parametrize("capture", Capture)
def test_every_order_of_external_parts_that_all_rules_allow_is_right(capture):
    """With all rules nothing goes wrong, however the machine state is captured."""
    assert violated_with_a_stream(RULES, capture) == set()


@pytest.mark.parametrize("rule", EXTERNAL)
def test_without_a_rule_of_external_parts_some_order_goes_wrong(rule):
    """Each rule removed alone: an order that is then allowed ends in a counterexample."""
    capture, wanted = EXTERNAL[rule]
    left = [kept for kept in RULES if kept.id != rule]
    assert wanted <= violated_with_a_stream(left, capture)


def test_every_order_that_all_rules_allow_is_right():
    """With all rules, whatever order they leave open, nothing goes wrong."""
    assert violated_in_some_order(RULES, disks=2) == set()


@pytest.mark.parametrize("rule", NEEDED)
def test_without_a_rule_some_order_goes_wrong(rule):
    """Each rule removed alone: an order that is then allowed ends in a counterexample."""
    left = [kept for kept in RULES if kept.id != rule]
    assert NEEDED[rule] in violated_in_some_order(left)


ON_THE_GRAPH = {
    "frozen-capture": (
        Operation(Kind.FREEZE_FILESYSTEMS),
        Operation(Kind.SNAPSHOT_DISK, disk="disk0"),
    ),
}
"""Rules of what the explorer does not model, each with two operations that it alone keeps apart."""


@pytest.mark.parametrize("rule", ON_THE_GRAPH)
def test_without_a_rule_of_the_graph_the_wrong_order_is_allowed(rule):
    """On the graph: the rule alone keeps the two operations apart."""
    first, second = ON_THE_GRAPH[rule]
    left = [kept for kept in RULES if kept.id != rule]
    assert build_graph([first, second], RULES).has_edge(first, second)
    assert not nx.has_path(build_graph([first, second], left), first, second)


def test_no_rule_is_forgotten():
    """Every edge rule is tried above."""
    of_copies = {"copy-after-resume"}  # in `test_explore_copies.py`
    assert set(EDGE_RULE_IDS) == {*NEEDED, *EXTERNAL, *ON_THE_GRAPH, *of_copies}


UNDO_NEEDED = {
    "remember-what-was-made": ("transactional", "atomic", {"disks": 3, "faults": 1}),
    "delete-parts": ("transactional", "atomic", {"faults": 1}),
    "by-id": ("monolithic", "old-intact", {"faults": 2, "other_clients": True}),
    "resume-guest": ("transactional", "run-state-restored", {"faults": 1}),
    "repair-images": ("monolithic", "atomic", {"faults": 1}),
    "cancel-stream": ("external", "atomic", {"faults": 1}),
    "active-before-undo": ("external", "qemu-lives", {"faults": 1}),
    "commit-overlays": ("background", "old-intact", {"faults": 1}),
    "thaw": ("frozen", "thawed", {"faults": 1}),
    "remove-files": ("live", "atomic", {"faults": 1}),
    "restore-settings": ("live", "settings-restored", {"faults": 1}),
    "cancel-copies": ("transactional", "atomic", {"faults": 1, "copies": 1}),
}


@pytest.mark.parametrize("step", UNDO_STEPS)
def test_without_a_step_of_undo_a_fault_spoils_something(step):
    """Each step of undo left out alone: a counterexample that is not there with it."""
    design, wanted, more = UNDO_NEEDED[step]
    more = dict(more)
    if copies := more.pop("copies", 0):
        more["facts"] = facts = facts_of(2)
        more["resolution"] = resolution_of(facts, copies=copies)
    setting = setting_for(design, **more)
    whole, mutated = (
        _lengths(explore(evolve(setting, undo=steps)), wanted)
        for steps in (setting.undo, setting.undo - {step})
    )
    assert mutated
    assert whole != mutated


def test_a_stream_that_is_not_cancelled_makes_the_nodes_inactive_while_parts_are_deleted():
    """Looked at too early the nodes are active; the stream goes on alone, and QEMU aborts."""
    setting = setting_for("external", faults=1)
    undo = setting.undo - {"cancel-stream"}
    found = {v.property_id: v for v in explore(evolve(setting, undo=undo)).violations}
    acts = [taken.action for taken in found["qemu-lives"].moves]
    assert Action(Act.DELETE, 0, 1) in acts
    assert explore(setting).violated == ()


def _lengths(report, wanted):
    return [
        [taken.action.act.name for taken in found.moves]
        for found in report.violations
        if found.property_id == wanted
    ]


def test_what_a_transaction_may_not_cover_is_shown_by_every_pair():
    """no-order-in-a-transaction: each ordered pair of one disk, left unordered, goes wrong."""
    kinds = (Kind.WRITE_VMSTATE, Kind.SNAPSHOT_DISK, Kind.DISCARD_VMSTATE)
    setting = setting_for("include-vmstate", disks=1)
    for first, second in itertools.combinations(kinds, 2):
        instructions = tuple(_unordered(i, first, second) for i in setting.instructions)
        report = explore(evolve(setting, instructions=instructions))
        assert report.violated, f"{first} and {second} may be swapped"


def _unordered(instruction, first, second):
    """The instruction without the promise that one kind comes before the other."""
    numbers = {op.kind: number for number, op in enumerate(instruction.operations)}
    if not {first, second} <= set(numbers):
        return instruction
    before = list(instruction.before)
    before[numbers[second]] &= ~(1 << numbers[first])
    if second is not Kind.DISCARD_VMSTATE or first is not Kind.WRITE_VMSTATE:
        return evolve(instruction, before=tuple(before))
    # written, snapshotted, discarded is a chain: two of its links have to go for the ends to swap
    return evolve(instruction, before=(0,) * len(before))
