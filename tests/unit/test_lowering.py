"""Tiny graphs, lowered: which order comes out, and which covers are illegal."""

import networkx as nx
import pytest
from attrs import evolve

from planner.compile.designs import choose_design
from planner.compile.graph import build_graph, canonical_order
from planner.compile.lower import lower
from planner.compile.rules import RULES, Rule
from planner.errors import BadInput, InternalError, Refused, Violation
from planner.model.operations import Kind, Operation
from planner.program.program import Step, WaitsFor
from planner.program.resolution import operations_of
from tests.unit.build import facts, held, plan, qcow2, raw, request, streamed, two_disks, whole

PAUSE, RESUME = Operation(Kind.PAUSE_GUEST), Operation(Kind.RESUME_GUEST)
WRITE = Operation(Kind.WRITE_VMSTATE, disk="a")
SNAPSHOT_A, SNAPSHOT_B = (Operation(Kind.SNAPSHOT_DISK, disk=disk) for disk in "ab")
DISCARD = Operation(Kind.DISCARD_VMSTATE, disk="a")
ALL = (RESUME, DISCARD, SNAPSHOT_B, SNAPSHOT_A, WRITE, PAUSE)


def step(name, *covers, ordered=False):
    return Step(name, {}, covers, WaitsFor.REPLY, ordered=ordered)


def text(steps):
    return [f"{s.execute}: {' '.join(map(str, s.covers))}" for s in steps]


def edges_text(graph):
    return sorted(f"{a} -> {b} [{' '.join(d['rules'])}]" for a, b, d in graph.edges(data=True))


def test_the_graph_of_two_disks():
    """Every edge of the smallest snapshot that has all of them, with its rule."""
    assert edges_text(build_graph(ALL)) == [
        "PauseGuest() -> ResumeGuest() [one-instant]",
        "PauseGuest() -> SnapshotDisk(a) [one-instant]",
        "PauseGuest() -> SnapshotDisk(b) [one-instant]",
        "PauseGuest() -> WriteVmstate(a) [one-instant]",
        "SnapshotDisk(a) -> DiscardVmstate(a) [snapshot-before-discard]",
        "SnapshotDisk(a) -> ResumeGuest() [one-instant]",
        "SnapshotDisk(b) -> ResumeGuest() [one-instant]",
        "WriteVmstate(a) -> DiscardVmstate(a) [snapshot-before-discard]",
        "WriteVmstate(a) -> ResumeGuest() [one-instant]",
        "WriteVmstate(a) -> SnapshotDisk(a) [vmstate-before-snapshot]",
    ]


def test_an_edge_that_two_rules_demand_carries_both():
    """A reader sees every reason."""
    again = Rule("again", "why", lambda _: iter([(PAUSE, WRITE)]))
    graph = build_graph(ALL, (*RULES, again))
    assert graph[PAUSE][WRITE]["rules"] == ("one-instant", "again")


def test_vms_are_apart():
    """An operation of one VM orders none of another."""
    ours = [PAUSE, SNAPSHOT_A]
    theirs = [Operation(op.kind, "other", op.disk) for op in (*ours, RESUME, WRITE)]
    graph = build_graph([*ours, *theirs])
    assert all(a.vm == b.vm for a, b in graph.edges())
    assert "other: PauseGuest()" in map(str, graph)


def test_a_cycle_is_reported_edge_by_edge():
    """Which operations, in which direction, by which rules: enough to see who is wrong."""
    contrary = Rule("contrary", "why", lambda _: iter([(RESUME, PAUSE)]))
    with pytest.raises(InternalError) as error:
        canonical_order(build_graph((PAUSE, RESUME), (*RULES, contrary)))
    assert error.value.code == "ordering-cycle"
    told = {(p.subject, p.message) for p in error.value.problems}
    assert told == {
        ("PauseGuest()", "must come before ResumeGuest(), by one-instant"),
        ("ResumeGuest()", "must come before PauseGuest(), by contrary"),
    }
    assert error.value.message.count("PauseGuest()") >= 1
    assert " -> " in error.value.message


def test_every_legal_order_is_kept_by_one_step_for_each_operation():
    """Lowered to the smallest instructions, whatever their order: the canonical order."""
    graph = build_graph(ALL)
    steps = [step(f"do {op}", op) for op in ALL]
    lowered = lower(graph, steps)
    assert lowered == lower(graph, steps[::-1])
    assert text(lowered) == [
        "do PauseGuest(): PauseGuest()",
        "do WriteVmstate(a): WriteVmstate(a)",
        "do SnapshotDisk(a): SnapshotDisk(a)",
        "do DiscardVmstate(a): DiscardVmstate(a)",
        "do SnapshotDisk(b): SnapshotDisk(b)",
        "do ResumeGuest(): ResumeGuest()",
    ]
    flat = [op for found in lowered for op in found.covers]
    assert flat in list(nx.all_topological_sorts(graph))


def test_machine_state_goes_first_where_the_rules_leave_it_open():
    """The slowest step comes before what would have to be undone."""
    write, snapshot, discard = (
        Operation(kind, disk="z")  # the alphabet alone would put it last
        for kind in (Kind.WRITE_VMSTATE, Kind.SNAPSHOT_DISK, Kind.DISCARD_VMSTATE)
    )
    graph = build_graph([write, snapshot, discard, SNAPSHOT_A])
    lowered = lower(
        graph, [step("cut", SNAPSHOT_A), step("save", write, snapshot, discard, ordered=True)]
    )
    assert [found.execute for found in lowered] == ["save", "cut"]


def test_no_unordered_instruction_covers_two_ordered_operations():
    """The naive transaction: everything in one, in no promised order."""
    with pytest.raises(Violation) as error:
        lower(
            build_graph(ALL),
            [step("stop", PAUSE), step("transaction", WRITE, SNAPSHOT_A, SNAPSHOT_B, DISCARD),
             step("cont", RESUME)],
        )  # fmt: skip
    assert {problem.code for problem in error.value.problems} == {"no-order-in-a-transaction"}
    assert len(error.value.problems) == 3
    assert all(problem.subject == "transaction" for problem in error.value.problems)


def test_an_ordered_instruction_must_keep_the_right_order():
    """A save that discarded first would break the rule that it is named after."""
    with pytest.raises(Violation) as error:
        lower(build_graph([WRITE, SNAPSHOT_A]), [step("save", SNAPSHOT_A, WRITE, ordered=True)])
    assert [problem.code for problem in error.value.problems] == ["vmstate-before-snapshot"]


def test_instructions_that_each_must_come_first_are_entangled():
    """Two instructions of which each has to come before the other are no order."""
    other = Operation(Kind.WRITE_VMSTATE, disk="b")
    with pytest.raises(Violation) as error:
        lower(
            build_graph([WRITE, SNAPSHOT_A, other, SNAPSHOT_B]),
            [step("one", WRITE, SNAPSHOT_B), step("two", other, SNAPSHOT_A)],
        )
    assert {problem.code for problem in error.value.problems} == {"instructions-entangled"}
    assert {problem.subject for problem in error.value.problems} == {"one", "two"}


@pytest.mark.parametrize(
    "steps",
    [
        [step("save", WRITE)],  # SnapshotDisk(a) is left
        [step("save", WRITE, SNAPSHOT_A), step("cut", SNAPSHOT_A)],  # twice
        [step("save", WRITE, SNAPSHOT_A), step("stop", PAUSE)],  # not asked for
        [step("save", WRITE, WRITE, SNAPSHOT_A)],
    ],
)
def test_a_cover_covers_each_operation_once(steps):
    """A design that leaves something out, or does it twice, is a bug and is said to be one."""
    with pytest.raises(InternalError):
        lower(build_graph([WRITE, SNAPSHOT_A]), steps)


# The designs

TWO = whole("disk0", "disk1")


def steps_of(*arguments):
    return [found.execute for found in plan(*arguments).program.steps]


@pytest.mark.parametrize("run_state", ["running", "paused"])
def test_monolithic_is_exactly_one_command(run_state):
    """One `snapshot-save`, whether the guest runs or not."""
    the_plan = plan("monolithic", two_disks(run_state=run_state), TWO)
    (only,) = the_plan.program.steps
    assert only.execute == "snapshot-save"
    assert only.arguments["devices"] == ["disk0", "disk1"]
    assert (PAUSE in only.covers) == (run_state == "running")


@pytest.mark.parametrize(
    ("run_state", "after", "expected"),
    [
        ("running", "as-before", ["stop", "snapshot-save", "transaction", "cont"]),
        ("running", "running", ["stop", "snapshot-save", "transaction", "cont"]),
        ("running", "paused", ["stop", "snapshot-save", "transaction"]),
        ("paused", "as-before", ["snapshot-save", "transaction"]),
        ("paused", "paused", ["snapshot-save", "transaction"]),
        ("paused", "running", ["snapshot-save", "transaction", "cont"]),
    ],
)
def test_transactional_pauses_and_resumes_only_where_that_changes_something(
    run_state, after, expected
):
    """The four commands, without those that the run state makes superfluous."""
    the_plan = plan(
        "transactional",
        two_disks(run_state=run_state),
        whole("disk0", "disk1", run_state_after=after),
    )
    assert [found.execute for found in the_plan.program.steps] == expected
    save = next(s for s in the_plan.program.steps if s.execute == "snapshot-save")
    assert save.arguments["devices"] == ["disk0"]


@pytest.mark.parametrize(
    ("run_state", "after", "expected"),
    [
        ("running", "as-before", ["transaction"]),
        ("paused", "as-before", ["transaction"]),
        ("running", "paused", ["stop", "transaction"]),
        ("paused", "running", ["transaction", "cont"]),
    ],
)
def test_disks_only_is_one_transaction_without_a_pause(run_state, after, expected):
    """The transaction drains all its disks together; pausing would add nothing."""
    only_disks = request(
        "t", "none", {"disk0": "internal", "disk1": "internal"}, run_state_after=after
    )
    assert steps_of("auto", two_disks(run_state=run_state), only_disks) == expected


def test_one_disk_with_machine_state_needs_no_transaction():
    """The save of the vmstate disk is all."""
    assert steps_of("transactional", facts(qcow2("disk0")), whole("disk0")) == [
        "stop", "snapshot-save", "cont",
    ]  # fmt: skip


def test_auto_says_why_not_the_first():
    """The reason is kept with the program, so that `plan` can show it."""
    program = plan("auto", two_disks(), request("t", "none", {"disk0": "internal"},
                   others="exclude")).program  # fmt: skip
    assert program.design == "transactional"
    (reason,) = program.not_chosen
    assert (reason.code, reason.subject) == ("design-cannot", "machine-state")


EXTERNAL_VM = facts(qcow2("disk0"), qcow2("disk1"), raw("vars0"), version="10.0")


@pytest.mark.parametrize(
    ("design", "subjects"),
    [("monolithic", {"vars0", "machine-state"}), ("transactional", {"machine-state"})],
)
def test_designs_of_internal_machine_state_refuse_a_stream(design, subjects):
    """Each part that they cannot do, with its disk, as `design-cannot`."""
    with pytest.raises(Refused) as error:
        plan(design, EXTERNAL_VM, streamed("live", "disk0", "disk1", overlays=["vars0"]))
    assert error.value.code == "design-cannot"
    assert {p.code for p in error.value.problems} == {"design-cannot"}
    assert {p.subject for p in error.value.problems} == subjects


BEFORE = ["migrate-set-capabilities", "migrate-set-parameters", "create-stream", "add-fd",
          "create-overlay", "blockdev-add"]  # fmt: skip
FLUSH = {"stopped": "flush-images", "live": "flush-while-streaming", "background": "flush-images"}

AFTER = ["remove-fd", "migrate-set-capabilities", "migrate-set-parameters", "keep-stream"]
IN_PAUSE = {
    "stopped": ["stop", "transaction", "migrate", "cont"],
    "live": ["migrate", "end-flushing", "transaction", "migrate-continue", "cont"],
    "background": ["stop", "migrate", "transaction", "query-migrate", "cont", "query-migrate"],
}


@pytest.mark.parametrize("capture", IN_PAUSE)
def test_a_capture_has_its_steps_in_the_order_of_the_facts(capture):
    """Facts 29, 30 and 39; all that is slow, and all that only tidies up, is out of the pause."""
    made = plan(
        "auto", EXTERNAL_VM, streamed(capture, "disk0", "disk1", overlays=["vars0"])
    ).program
    assert made.design == {"stopped": "external"}.get(capture, capture)
    assert [s.execute for s in made.steps] == [
        *(*BEFORE, FLUSH[capture]), *IN_PAUSE[capture], *AFTER,
    ]  # fmt: skip
    on = {c["capability"] for c in made.steps[0].arguments["capabilities"] if c["state"]}
    own = {"stopped": {"mapped-ram"}, "live": {"mapped-ram", "pause-before-switchover"},
           "background": {"background-snapshot"}}  # fmt: skip
    assert on == {"events"} | own[capture]


def test_an_older_qemu_is_given_a_descriptor():
    """7.2 knows no `file:` (fact 31), and no mapped-ram."""
    vm = facts(qcow2("disk0"), version="7.2")
    made = plan("auto", vm, streamed("stopped", "disk0")).program
    steps = {step.execute: step for step in made.steps}
    assert steps["getfd"].arguments == {"fdname": "snapplan-stream"}
    assert steps["migrate"].arguments == {"uri": "fd:snapplan-stream"}
    assert "mapped-ram" not in str(steps["migrate-set-capabilities"].arguments)


def test_a_newer_qemu_is_given_a_descriptor_set():
    """From 8.2 on it writes to a file of the set, whoever it runs as (fact 75); and gives it back."""
    steps = {
        s.execute: s
        for s in plan(
            "auto", EXTERNAL_VM, streamed("live", "disk0", overlays=["vars0"], others="exclude")
        ).program.steps
    }
    number = steps["add-fd"].arguments["fdset-id"]
    assert steps["migrate"].arguments == {"uri": f"file:/dev/fdset/{number}"}
    assert steps["remove-fd"].arguments == {"fdset-id": number}


def test_facts_of_before_name_the_file():
    """A recorded schema without the commands of sets is planned for as it was."""
    known = tuple(
        entry for entry in EXTERNAL_VM.schema if entry["name"] not in ("add-fd", "remove-fd")
    )
    vm = evolve(EXTERNAL_VM, schema=known)
    steps = plan(
        "auto", vm, streamed("stopped", "disk0", overlays=["vars0"], others="exclude")
    ).program.steps
    assert [s.arguments["uri"] for s in steps if s.execute == "migrate"] == [
        "file:/new/.state.snapplan"
    ]


def test_settings_that_are_right_are_left_alone_and_others_come_back():
    """What differs is set, and put back to just what it was."""
    capabilities = {**EXTERNAL_VM.capabilities, "events": True, "multifd": True}
    vm = evolve(EXTERNAL_VM, capabilities=capabilities, parameters={"max-bandwidth": 0})
    steps = plan("auto", vm, streamed("stopped", "disk0", others="exclude")).program.steps
    first, last = (s.arguments for s in steps if s.execute == "migrate-set-capabilities")
    assert [(c["capability"], c["state"]) for c in first["capabilities"]] == [
        ("mapped-ram", True), ("multifd", False),
    ]  # fmt: skip
    assert [(c["capability"], c["state"]) for c in last["capabilities"]] == [
        ("mapped-ram", False), ("multifd", True),
    ]  # fmt: skip
    assert not any(s.execute == "migrate-set-parameters" for s in steps)


@pytest.mark.parametrize("capture", IN_PAUSE)
def test_what_a_capture_needs_may_be_on_already(capture):
    """Nothing is set then, the program is proved all the same, and nothing is put back."""
    wanted = {"events", "mapped-ram", "pause-before-switchover"}
    wanted -= {"pause-before-switchover"} if capture == "stopped" else set()
    wanted = {"events", "background-snapshot"} if capture == "background" else wanted
    on = {name: name in wanted for name in EXTERNAL_VM.capabilities}
    vm = evolve(EXTERNAL_VM, capabilities=on)
    steps = plan("auto", vm, streamed(capture, "disk0", others="exclude")).program.steps
    assert not any(step.execute == "migrate-set-capabilities" for step in steps)


def test_raw_disks_go_under_overlays_beside_internal_machine_state():
    """One transaction mixes snapshots and overlays; the images are made before the pause."""
    disks = {"disk0": "internal", "disk1": "internal", "vars0": {"external": "/new/v.qcow2"}}
    steps = plan("auto", EXTERNAL_VM, request("t", {"internal": "disk0"}, disks)).program.steps
    assert [s.execute for s in steps] == [
        "create-overlay", "blockdev-add", "stop", "snapshot-save", "transaction", "cont",
    ]  # fmt: skip
    assert [a["type"] for a in steps[4].arguments["actions"]] == [
        "blockdev-snapshot-internal-sync", "blockdev-snapshot",
    ]  # fmt: skip


def test_an_unknown_design_is_bad_input():
    """The known ones are named."""
    with pytest.raises(BadInput) as error:
        choose_design("quick", plan().program.resolution)
    assert error.value.code == "design-unknown"
    assert "monolithic, transactional" in error.value.problems[0].remedy


@pytest.mark.parametrize("design", ["monolithic", "transactional"])
def test_replacing_deletes_each_old_snapshot_of_the_tag_first_by_id_and_name(design):
    """Also two of one name on one disk, also on a `-drive` disk; and no other snapshot."""
    old = (held("t", "3"), held("t", "5"), held("u", "4"))
    vm = facts(qcow2("disk0", snapshots=old), qcow2("disk1"))
    program = plan(design, vm, whole("disk0", "disk1", existing_tag="replace")).program
    deletes = [s.arguments for s in program.steps if "delete" in s.execute]
    assert deletes == [
        {"device": "disk0", "id": "3", "name": "t"},
        {"device": "disk0", "id": "5", "name": "t"},
    ]
    assert [s.execute for s in program.steps[:2]] == ["blockdev-snapshot-delete-internal-sync"] * 2
    assert all(step.undo == () for step in program.steps[:2])


def test_operations_come_each_once():
    """The graph's operations are the request's: none twice, none forgotten."""
    resolution = plan("transactional", two_disks(), TWO).program.resolution
    operations = list(operations_of(resolution))
    assert len(set(operations)) == len(operations) == 6
