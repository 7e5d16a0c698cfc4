"""Whatever strikes a load, no guest runs on disks of two instants, and what it says of each is true."""

import asyncio

import pytest
from attrs import evolve

from planner.load.ended_guest import Wanted
from planner.load.load_checks import plan_load
from planner.load.loading import LoadMachine
from planner.model.request import RunStateAfter
from planner.run.phases import Phase
from tests.crash.faulty_vm import FAULTS, Fault
from tests.crash.machines import TAG, Run, image_node, make_vm, some, survey

SETTINGS = [
    (before, after)
    for before in ("running", "paused")
    for after in (RunStateAfter.RUNNING, RunStateAfter.PAUSED)
]
# As before, always; brought to another run state, in campaigns.
SAMPLED = [
    pytest.param(before, after, marks=() if before == after else pytest.mark.long)
    for before, after in SETTINGS
]


def prepared(before, after, kinds=("qcow2", "qcow2"), version="7.2"):
    vm, manifest = make_vm(kinds, before, version)
    facts, images = asyncio.run(survey(vm))
    order = plan_load(manifest, facts, images, Wanted(after))
    return vm, order


def contents(vm, order):
    """By disk: what it holds now, and what its snapshot holds."""
    found = {}
    for part in order.parts:
        layer = image_node(vm, part.disk).layer
        saved = next(s for s in layer.snapshots if (s.id, s.name) == (part.snapshot_id, TAG))
        found[part.disk] = (layer.content, saved.content)
    return found


def judge(vm, order, outcome):
    """The oracle: it sees the whole VM, not only what QMP shows."""
    now = contents(vm, order)
    foreign = any(fault.kind in ("foreign-cont", "foreign-stop") for fault in vm.faults)
    reverted = {disk for disk, (content, saved) in now.items() if content == saved}
    if vm.state.run_state == "running":  # what a running guest wrote since is not to be told apart
        reverted = set() if not outcome.loaded else {part.disk for part in order.parts}
    if outcome.phase is Phase.DONE:
        assert outcome.loaded
        if not foreign:
            assert vm.state.run_state == order.run_state_after or vm.state.died
    elif outcome.phase is Phase.UNDONE:
        assert not outcome.loaded
        assert outcome.reverted.nothing
        if vm.state.run_state != "running":
            assert reverted == set(), "it says that no disk was reverted"
        if not vm.state.died and not foreign:
            assert vm.state.run_state == order.run_state_before
    elif outcome.phase is Phase.INCOMPLETE:
        assert outcome.left, "exit 21 without an account"
        judge_account(outcome, reverted, vm)
        torn = not outcome.loaded and not outcome.reverted.nothing
        if torn and not foreign and not vm.state.died:
            assert vm.state.run_state != "running", "a guest runs on what may be two instants"
    else:
        assert outcome.phase is Phase.UNKNOWN
        assert outcome.left, "exit 22 without an account"
        if not foreign:
            known = outcome.reverted.nothing or outcome.loaded
            assert known or vm.stuck or vm.state.run_state != "running"


def judge_account(outcome, reverted, vm):
    said = {problem.subject: problem.code for problem in outcome.left}
    if outcome.loaded or vm.state.run_state == "running":
        return
    for disk, code in said.items():
        if code == "disk-not-reverted":
            assert disk not in reverted, "it was reverted, and the account denies it"
    assert reverted <= {disk for disk, code in said.items() if code == "disk-reverted"}
    for disk in outcome.reverted.surely:
        assert disk in reverted


def run(before, after, fault=None, kinds=("qcow2", "qcow2"), version="7.2", **kill):
    vm, order = prepared(before, after, kinds, version)
    assert all(content != saved for content, saved in contents(vm, order).values())
    vm.faults = [fault] if fault else []
    killed = Run(lambda: LoadMachine.of(order), vm, **kill)
    outcome = killed.end()
    judge(vm, order, outcome)
    return killed, outcome


def from_internal_error(strikes=None):
    """A load from there, with a reset; what the VM is then, and how it ended."""
    vm, manifest = make_vm()
    facts, images = asyncio.run(survey(vm))
    vm.state = evolve(vm.state, run_state="internal-error")
    facts = evolve(facts, run_state="internal-error")
    order = plan_load(manifest, facts, images, Wanted(reset=True))
    vm.faults = strikes or []
    return vm, order, Run(lambda: LoadMachine.of(order), vm).end()


def test_from_an_internal_error_after_a_reset():
    """As the facts say that QEMU does (fact 69); CI has no KVM."""
    vm, _, outcome = from_internal_error()
    assert (outcome.phase, vm.state.run_state) == (Phase.DONE, "running")


def test_what_fails_before_or_after_a_reset_says_what_became_of_the_vm():
    """Whichever command is refused, what is told of the VM is true."""
    ends = set()
    for command in range(20):
        vm, order, outcome = from_internal_error([Fault("refuse", command)])
        if outcome.loaded or not outcome.reverted.nothing:
            continue
        assert outcome.run_state == vm.state.run_state
        was_reset = vm.state.run_state != order.run_state_before
        codes = [problem.code for problem in outcome.left]
        assert codes == (["guest-reset"] if was_reset else [])
        ends.add(was_reset)
    assert ends == {False, True}


@pytest.mark.parametrize(("before", "after"), SETTINGS)
@pytest.mark.parametrize("version", ["7.2", "10.0", "11.1"])
def test_without_a_fault_it_is_loaded(before, after, version):
    """All disks and the memory are those of the snapshot, and the VM does what was asked for."""
    vm, order = prepared(before, after, ("qcow2", "throttle", "drive"), version)
    outcome = Run(lambda: LoadMachine.of(order), vm).end()
    assert outcome.phase is Phase.DONE, outcome
    assert outcome.run_state == vm.state.run_state == after.value
    if after is RunStateAfter.PAUSED:
        assert all(content == saved for content, saved in contents(vm, order).values())
    assert vm.state.jobs == ()


@pytest.mark.parametrize(("before", "after"), SAMPLED)
@pytest.mark.parametrize("kind", FAULTS)
def test_every_single_fault_at_every_command(kind, before, after):
    """Each fault, at each command of a load and at each small step inside of it."""
    commands = len(run(before, after)[0].vm.sent)
    ends = set()
    for command in range(commands + 2):
        for place in range(8 if kind in ("micro-step", "die-inside") else 1):
            for disk in ("disk0", "disk1") if kind == "foreign-tag" else ("disk0",):
                fault = Fault(kind, command, place, disk)
                ends.add(run(before, after, fault)[1].phase)
    assert ends


@pytest.mark.parametrize(("before", "after"), SAMPLED)
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_snapplan_killed_at_every_action(before, after, done):
    """A new machine that is told the same goes on from there; the load ends whole, or was never done."""
    actions = len(run(before, after)[0].asked)
    for number in range(actions):
        _, outcome = run(before, after, kill_at=number, done=done)
        assert outcome.phase in (Phase.DONE, Phase.UNDONE), (number, outcome)


@pytest.mark.sample(1)
@pytest.mark.parametrize(("before", "after"), SAMPLED)
def test_snapplan_killed_and_a_fault_beside(before, after):
    """Killed at an action of a run that a fault at any command has met."""
    for kind in ("refuse", "drop-before", "drop-after", "no-reply", "die-before", "die-after"):
        commands = len(run(before, after)[0].vm.sent)
        for command in range(commands):
            fault = Fault(kind, command)
            actions = len(run(before, after, fault)[0].asked)
            for number in some(actions):
                for done in (False, True):
                    run(before, after, fault, kill_at=number, done=done)
