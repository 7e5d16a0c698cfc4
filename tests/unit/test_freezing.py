"""File systems frozen around the capture: the request, the order, the proof, and a run that fails."""

import json

import pytest
from attrs import evolve

from planner.compile.plan import compile_request
from planner.compile.plan_text import plan_to_text, read_plan
from planner.compile.resolve import resolve
from planner.errors import BadInput, SnapplanError
from planner.model.request_text import request_from_plain, request_to_plain
from planner.model.text import Document
from planner.program.program import Target, Undo, UndoKind
from planner.run.actions import AskAgent, Send
from planner.run.phases import Phase
from planner.verify.proof import violations
from tests.unit.build import facts, held, plan, qcow2, request, two_disks
from tests.unit.fake_vm import LATE, LOST, REFUSED, FakeVm, Strike, named_images, run

FREEZE, THAW, STATUS = (f"guest-fsfreeze-{word}" for word in ("freeze", "thaw", "status"))
AGENT = "/run/vm/agent.sock"
BOTH = {"disk0": "internal", "disk1": "internal"}


def frozen(machine_state="none", disks=None, at_most=7, **more):
    freeze = {"agent": AGENT, "at-most": at_most}
    return request("t", machine_state, disks or BOTH, freeze_filesystems=freeze, **more)


PROGRAM = plan("transactional", the_request=frozen()).program
COMMANDS = [step.execute for step in PROGRAM.steps]


def run_frozen(*strikes, vm=None, watch=None):
    return run(PROGRAM, two_disks(), *strikes, vm=vm, watch=watch)


def codes(error):
    return {problem.code for problem in error.problems}


# --- the request ----------------------------------------------------------------------------------


def test_a_request_says_where_the_agent_is_and_for_how_long():
    """What is read is what was written, and ten seconds where nothing is said."""
    read = frozen()
    assert (read.request.freeze.agent, read.request.freeze.at_most_s) == (AGENT, 7)
    assert request_from_plain(Document(request_to_plain(read.request))).request == read.request
    assert request(freeze_filesystems={"agent": "a"}).request.freeze.at_most_s == 10


@pytest.mark.parametrize(
    ("value", "code", "subject"),
    [
        ("yes", "value-wrong", "freeze-filesystems"),
        ({}, "key-missing", "freeze-filesystems.agent"),
        ({"agent": ""}, "path-malformed", "freeze-filesystems.agent"),
        ({"agent": 3}, "value-wrong", "freeze-filesystems.agent"),
        ({"agent": "a", "at-most": 0}, "value-wrong", "freeze-filesystems.at-most"),
        ({"agent": "a", "at-most": 601}, "value-wrong", "freeze-filesystems.at-most"),
        ({"agent": "a", "at-most": 1.5}, "value-wrong", "freeze-filesystems.at-most"),
        ({"agent": "a", "at-most": True}, "value-wrong", "freeze-filesystems.at-most"),
        ({"agent": "a", "for": 1}, "key-unknown", "freeze-filesystems.for"),
    ],
)
def test_what_cannot_be_read_is_reported_where_it_stands(value, code, subject):
    """Each mistake has its code and its place."""
    problems = request(freeze_filesystems=value).problems
    assert [(problem.code, problem.subject) for problem in problems] == [(code, subject)]


REFUSALS = {
    "machine state": (frozen({"internal": "disk0"}), {}, {"freeze-with-machine-state"}),
    "paused": (frozen(), {"run_state": "paused"}, {"freeze-needs-running"}),
    "not absolute": (
        request("t", "none", BOTH, freeze_filesystems={"agent": "ga"}),
        {},
        {"path-not-absolute"},
    ),
    "to be paused": (frozen(run_state_after="paused"), {}, {"freeze-then-paused"}),
    "all at once": (
        frozen({"internal": "disk0"}, existing_tag="refuse"),
        {"run_state": "paused", "held": True},
        {"freeze-with-machine-state", "freeze-needs-running", "tag-taken"},
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_file_systems_that_could_not_be_thawed_are_not_frozen(name):
    """Freezing is refused with machine state and where the guest does not run, all at once."""
    read, more, expected = REFUSALS[name]
    more = dict(more)
    snapshots = (held("t"),) if more.pop("held", False) else ()
    the_facts = facts(qcow2("disk0", snapshots=snapshots), qcow2("disk1"), **more)
    with pytest.raises(SnapplanError) as refused:
        resolve(read, the_facts)
    assert codes(refused.value) == expected


def test_a_request_that_cannot_be_read_is_judged_by_the_rest_all_the_same():
    """The file's mistakes and the VM's are reported together."""
    read = request("t", {"internal": "disk0"}, BOTH, freeze_filesystems={"agent": ""})
    with pytest.raises(BadInput) as refused:
        resolve(read, two_disks())
    assert codes(refused.value) == {"path-malformed", "freeze-with-machine-state"}


# --- the order and its proof ----------------------------------------------------------------------


def test_nothing_but_the_captures_lies_between_freeze_and_thaw():
    """What is slow goes before the freeze, and a thaw is what undoes it."""
    the_facts = facts(qcow2("disk0", snapshots=(held("t"),)), qcow2("disk1"))
    read = frozen(existing_tag="replace")
    steps = compile_request(read, the_facts).program.steps
    assert [step.execute for step in steps] == [
        "blockdev-snapshot-delete-internal-sync",
        FREEZE,
        "transaction",
        THAW,
    ]
    assert [step.target for step in steps[1::2]] == [Target.AGENT, Target.AGENT]
    assert steps[1].undo == (Undo(UndoKind.THAW),)


def test_a_plan_with_a_freeze_can_be_read_again():
    """The plan file holds the agent and the bound."""
    made = plan("transactional", the_request=frozen())
    assert read_plan(plan_to_text(made)) == made
    assert json.loads(plan_to_text(made))["program"]["resolution"]["freeze"]["agent"] == AGENT


FROZE, CAPTURED, THAWED = PROGRAM.steps
PLAIN = plan("transactional", the_request=request("t", "none", BOTH)).program
MISTAKES = {
    "captured first": ((CAPTURED, FROZE, THAWED), "frozen-capture"),
    "thawed first": ((FROZE, THAWED, CAPTURED), "frozen-capture"),
    "thaw forgotten": ((FROZE, CAPTURED), "frozen-capture"),
    "freeze forgotten": ((CAPTURED, THAWED), "frozen-capture"),
    "nothing frozen": ((CAPTURED,), "complete"),
    "frozen twice": ((FROZE, FROZE, CAPTURED, THAWED), "frozen-capture"),
    "no undo": ((evolve(FROZE, undo=()), CAPTURED, THAWED), "undo-complete"),
    "too patient": ((evolve(FROZE, timeout_s=8), CAPTURED, THAWED), "frozen-capture"),
    "sent to QEMU": ((evolve(FROZE, target=Target.QMP), CAPTURED, THAWED), "instruction-unknown"),
    "agent asked for more": (
        (FROZE, evolve(CAPTURED, target=Target.AGENT), THAWED),
        "instruction-unknown",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_verifier_finds_each_mistake(name):
    """A program that does not keep to the rule is not run, whoever wrote it."""
    steps, rule = MISTAKES[name]
    assert rule in {problem.code for problem in violations(evolve(PROGRAM, steps=steps))}


def test_nobody_freezes_unasked():
    """A program freezes only what its resolution says."""
    program = evolve(PLAIN, steps=(FROZE, *PLAIN.steps, THAWED))
    assert {problem.code for problem in violations(program)} >= {"nothing-else", "complete"}
    assert not violations(PLAIN)
    assert not violations(PROGRAM)


# --- the run --------------------------------------------------------------------------------------


def assert_as_before(outcome, vm, phase=Phase.UNDONE):
    """Thawed, no snapshot, the guest running."""
    assert outcome.phase is phase
    assert not vm.frozen
    assert not any(vm.nodes.values())
    assert vm.running


def test_a_run_freezes_captures_and_thaws_once_each():
    """The agent is asked first of all, so that a guest without one loses nothing."""
    outcome, vm = run_frozen()
    assert outcome.phase is Phase.DONE
    acts = [name for name in vm.sent if not name.startswith("query")]
    assert acts == [STATUS, STATUS, FREEZE, "transaction", THAW]
    assert vm.asked[2] == AskAgent(FREEZE, 7, 7)
    assert [len(held) for held in vm.nodes.values()] == [1, 1]
    assert not vm.frozen


@pytest.mark.parametrize("answer", [REFUSED, LOST, LATE], ids=["refused", "lost", "late"])
@pytest.mark.parametrize(
    ("command", "done"),
    [(FREEZE, True), (FREEZE, False), ("transaction", False), (THAW, True), (THAW, False)],
)
def test_whatever_fails_the_file_systems_are_thawed_and_nothing_is_left(command, done, answer):
    """A thaw is owed from the moment at which the freeze is sent, also when nobody answers."""
    outcome, vm = run_frozen(Strike(command, answer, done=done))
    assert_as_before(outcome, vm)
    assert vm.sent.count(FREEZE) == 1


@pytest.mark.parametrize("answer", [LOST, LATE], ids=["lost", "late"])
def test_a_capture_of_unknown_outcome_is_undone_once_thawed(answer):
    """QEMU did it, and nobody heard: its parts are deleted, after the thaw."""
    outcome, vm = run_frozen(Strike("transaction", answer))
    assert_as_before(outcome, vm)
    assert vm.sent[vm.sent.index("transaction") + 1] == THAW


@pytest.mark.parametrize("answer", [REFUSED, LOST, LATE], ids=["refused", "lost", "late"])
def test_an_agent_that_does_not_answer_at_the_start_costs_nothing(answer):
    """Before the first step nothing is owed, and nothing but the question was sent."""
    outcome, vm = run_frozen(Strike(STATUS, answer))
    assert_as_before(outcome, vm)
    assert THAW not in vm.sent
    assert FREEZE not in vm.sent


@pytest.mark.parametrize("nth", [1, 2])
def test_what_somebody_else_froze_stays_his(nth):
    """The run ends before it freezes, and thaws nothing."""

    def freeze(vm):
        vm.frozen = 3

    outcome, vm = run_frozen(Strike(STATUS, nth=nth, before=freeze))
    assert outcome.failure.code == "frozen-by-other"
    assert (outcome.phase, vm.frozen) == (Phase.UNDONE, 3)


def test_a_guest_with_nothing_to_freeze_is_told_so():
    """A snapshot that is no better than a power cut is not passed off for a frozen one."""
    vm = FakeVm.of(named_images(two_disks()))
    vm.file_systems = 0
    outcome, vm = run_frozen(vm=vm)
    assert outcome.failure.code == "nothing-frozen"
    assert_as_before(outcome, vm)


def test_a_capture_during_which_somebody_thawed_is_no_frozen_one():
    """The agent's count at the thaw shows it."""

    def thaw(vm):
        vm.frozen = 1

    outcome, vm = run_frozen(Strike("transaction", after=thaw))
    assert outcome.failure.code == "thawed-by-other"
    assert_as_before(outcome, vm)


def test_a_thaw_is_tried_again_until_the_agent_says_thawed():
    """A thaw that failed once, or whose answer was lost, is asked again."""
    strikes = [
        Strike("transaction", REFUSED, done=False),
        Strike(THAW, REFUSED, done=False),
        Strike(THAW, LATE, nth=2, done=False),
    ]
    outcome, vm = run_frozen(*strikes)
    assert_as_before(outcome, vm)
    assert vm.sent.count(THAW) == 3


def test_a_guest_that_stays_frozen_is_an_incomplete_undo():
    """Exit 21, and the message says what to send where."""
    strikes = [Strike(THAW, LATE, nth=n, done=False) for n in range(1, 20)]
    strikes += [Strike(STATUS, LATE, nth=n) for n in range(3, 30)]
    outcome, vm = run_frozen(Strike("transaction", REFUSED, done=False), *strikes)
    assert outcome.phase is Phase.INCOMPLETE
    assert [(p.code, p.subject) for p in outcome.left] == [("file-systems-frozen", AGENT)]
    assert vm.frozen


def test_the_thaw_comes_first_and_needs_no_qmp():
    """A QMP connection that is gone for good leaves the guest thawed all the same."""

    def cut(vm):
        vm.reachable = False

    outcome, vm = run_frozen(Strike("transaction", LOST, after=cut))
    assert outcome.phase is Phase.UNKNOWN
    assert not vm.frozen
    assert vm.sent[vm.sent.index("transaction") + 1] == THAW


def test_a_guest_paused_by_somebody_else_is_thawed_once_it_runs():
    """An agent whose guest is paused answers nothing; the thaw is tried again at the end."""
    vm = FakeVm.of(named_images(two_disks()), Strike("transaction", LATE, done=False))
    vm.strikes += [Strike(THAW, LATE, nth=n, done=False) for n in range(1, 4)]
    vm.strikes += [Strike(STATUS, LATE, nth=n) for n in range(3, 6)]
    outcome, vm = run_frozen(vm=vm)
    assert_as_before(outcome, vm)
    assert vm.sent.count(THAW) == 4


def test_a_vm_that_died_owes_no_thaw():
    """There is no guest any more whose file systems could be frozen."""

    def die(vm):
        vm.alive = False

    outcome, _ = run_frozen(Strike("transaction", LOST, done=False, after=die))
    assert outcome.phase is Phase.UNDONE
    assert outcome.run_state == "gone"


@pytest.mark.parametrize("command", COMMANDS)
def test_an_interrupt_thaws(command):
    """Ctrl-C while the file systems are frozen ends like any failure."""

    def interrupt(machine, action):
        if isinstance(action, Send | AskAgent) and action.command == command:
            machine.interrupt()

    outcome, vm = run_frozen(watch=interrupt)
    assert outcome.failure.interrupted
    assert_as_before(outcome, vm)
