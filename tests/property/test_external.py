"""Whatever the VM and the request: external parts are made as asked for, of one instant, or refused."""

import json
import os
import subprocess
import sys

import pytest
from attrs import evolve
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from planner.compile.plan import check_unchanged, compile_request
from planner.compile.plan_text import plan_to_text, read_plan
from planner.compile.rules import RULES
from planner.errors import Refused, Violation
from planner.model.facts_text import facts_to_plain, read_facts
from planner.model.request import (
    Capture,
    Exclude,
    External,
    ExternalMachineState,
    Internal,
    InternalMachineState,
    NoMachineState,
    Request,
    RunStateAfter,
)
from planner.model.request_text import ReadRequest, read_request, request_to_plain
from tests.property.tiny_outside import complaints_outside
from tests.property.tiny_vm import TinyVm
from tests.property.topologies import TAG, VERSIONS, disks, vms
from tests.unit.build import capability_names

KINDS = ("qcow2", "filtered", "backed", "drive", "raw")
CHANGED = ("events", "xbzrle", "multifd", "postcopy-ram", "pause-before-switchover", "mapped-ram")
MEMORY = ("stopped", "live", "background", "internal", "none")
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def facts_with_settings(draw):
    """A VM of any version whose migration settings are not all QEMU's defaults."""
    facts = draw(vms(disks(KINDS, tags=((), ("old",)), most=6)))
    version = next(name for name, numbers in VERSIONS.items() if numbers[0] == facts.qemu.major)
    known = capability_names(version)
    on = draw(st.sets(st.sampled_from([name for name in CHANGED if name in known]), max_size=3))
    bandwidth = draw(st.sampled_from([0, 134217728]))
    return evolve(
        facts,
        capabilities={name: name in on for name in known},
        parameters={"max-bandwidth": bandwidth, "downtime-limit": 300},
    )


@st.composite
def cases(draw):
    """A VM and a request with external parts, or with few."""
    facts = draw(facts_with_settings())
    wishes = []
    for disk in facts.disks:
        options = [External(f"/vm/{disk.name}.overlay"), Exclude()]
        if disk.driver == "qcow2":
            options += [Internal(), Internal()]
        wishes.append((draw(st.sampled_from(disk.names)), draw(st.sampled_from(options))))
    inside = [name for name, wish in wishes if isinstance(wish, Internal)]
    memory = draw(st.sampled_from(MEMORY))
    state = NoMachineState()
    if memory == "internal" and inside:
        state = InternalMachineState(inside[0])
    elif memory in list(Capture):
        downtime = draw(st.sampled_from([0, 50])) if memory == "live" else 0
        state = ExternalMachineState("/vm/state", Capture(memory), downtime_limit=downtime)
    after = draw(st.sampled_from([RunStateAfter.AS_BEFORE, *RunStateAfter]))
    return facts, Request(TAG, state, tuple(wishes), run_state_after=after)


def ends_running(facts, request):
    after = request.run_state_after
    return (facts.run_state if after is RunStateAfter.AS_BEFORE else after) == "running"


def reasons_against(facts, request):
    """Why a request of `cases` has to be refused, found without asking the planner."""
    state, reasons = request.machine_state, set()
    if isinstance(state, ExternalMachineState):
        if state.capture is Capture.BACKGROUND and facts.qemu.major < 10:
            reasons.add("background-unsafe")
        if state.capture is Capture.LIVE and facts.run_state == "paused":
            reasons.add("capture-needs-a-running-guest")
        if state.capture is not Capture.BACKGROUND and not ends_running(facts, request):
            reasons.add("postmigrate-stays")
    elif all(isinstance(wish, Exclude) for _, wish in request.disks):
        reasons.add("nothing-to-snapshot")
    return reasons


def asked_for(facts, request):
    """What a run is to make, by canonical names."""
    table = {name: disk.name for disk in facts.disks for name in disk.names}
    wishes = {table[name]: wish for name, wish in request.disks}
    state = request.machine_state
    return {
        "internal": {disk for disk, wish in wishes.items() if isinstance(wish, Internal)},
        "overlays": {d: w.path for d, w in wishes.items() if isinstance(w, External)},
        "stream": state.path if isinstance(state, ExternalMachineState) else "",
        "vmstate": table[state.disk] if isinstance(state, InternalMachineState) else "",
    }


def complaints(program, facts, request):
    """What is wrong with a program, by the oracle alone."""
    wanted, ends = asked_for(facts, request), ends_running(facts, request)
    steps = [(step.execute, step.arguments) for step in program.steps]
    vm = TinyVm(facts, ends_running=ends).run(steps)
    found = [*vm.faults, *complaints_outside(vm, wanted)]
    for disk, image in vm.images.items():
        if len(vm.new(disk)) != (disk in wanted["internal"]):
            found.append(f"{disk} has {len(vm.new(disk))} parts")
        if any(held != (disk == wanted["vmstate"]) for _, _, held, _ in vm.new(disk)):
            found.append(f"machine state is misplaced on {disk}")
        if image.vmstate_in_layer:
            found.append(f"{disk} keeps vmstate")
    if len({part.instant for part in vm.parts}) > 1:
        found.append("parts are of different instants")
    torn = {part.command for part in vm.parts if part.running}
    if torn and (torn != {"transaction"} or wanted["stream"] or wanted["vmstate"]):
        found.append("a part was captured while the guest ran")
    if vm.running != ends:
        found.append("the run state is not what was asked for")
    return found


def compiled(facts, request, **more):
    try:
        return compile_request(ReadRequest(request), facts, "auto", **more)
    except Refused:
        assume(False)


@settings(QUICK, max_examples=250)
@given(cases())
def test_a_program_with_external_parts_makes_just_what_was_asked_for(case):
    """Played by the oracle: each part once, of one instant, in the pause; just the files asked for."""
    facts, request = case
    reasons = reasons_against(facts, request)
    refused = None
    try:
        plan = compile_request(ReadRequest(request), facts, "auto")
    except Refused as error:
        refused = error
    if refused is not None:
        assert {problem.code for problem in refused.problems} == reasons
        return
    assert reasons == set()
    assert complaints(plan.program, facts, request) == []


@QUICK
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_change_a_byte(case, dice):
    """Disks, wishes and settings in any order give the same plan file."""
    facts, request = case
    text = plan_to_text(compiled(facts, request))
    shuffled, wishes, names = list(facts.disks), list(request.disks), list(facts.capabilities)
    for each in (shuffled, wishes, names):
        dice.shuffle(each)
    again = evolve(
        facts,
        disks=tuple(shuffled),
        capabilities={name: facts.capabilities[name] for name in names},
    )
    assert plan_to_text(compiled(again, evolve(request, disks=tuple(wishes)))) == text


@QUICK
@given(cases())
def test_plans_facts_and_requests_survive_their_files(case):
    """What is written is read back equal, and written again the same."""
    facts, request = case
    assert read_facts(json.dumps(facts_to_plain(facts))) == facts
    read = read_request(json.dumps(request_to_plain(request)))
    assert (read.problems, read.request) == ((), request)
    plan = compiled(facts, request)
    again = read_plan(plan_to_text(plan))
    assert again == plan
    assert plan_to_text(again) == plan_to_text(plan)
    check_unchanged(again, facts)


@pytest.mark.parametrize("capture", ["stopped", "live", "background"])
def test_the_hash_seed_does_not_change_a_byte(capture):
    """Python's hash seed, which orders sets, does not reach a plan of external parts."""
    code = (
        "import sys; room = 'specs/examples/explore/'; sys.argv = ['snapplan', 'plan', "
        f"room + 'mixed-{capture}.yaml', '--facts', room + 'mixed.facts.json', '-o', '-'];"
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
        for seed in (0, 4242)
    }
    assert len(texts) == 1
    assert texts.pop().startswith("{")


NEEDED = ("overlay-ready", "nodes-active", "tracking-before-resume", "stream-after-resume")


def goes_wrong(facts, request, rules):
    """What the verifier, else the oracle, says of the program that these rules let through."""
    try:
        plan = compile_request(ReadRequest(request), facts, "auto", rules)
    except Violation as violation:
        return {problem.code for problem in violation.problems}
    return set(complaints(plan.program, facts, request))


@pytest.mark.parametrize("dropped", NEEDED)
def test_without_any_one_rule_of_external_parts_some_program_goes_wrong(dropped):
    """Each rule is needed: without it a program comes out that is wrong; with it that one is right."""
    rules = tuple(rule for rule in RULES if rule.id != dropped)
    assert len(rules) == len(RULES) - 1
    found = []

    @settings(QUICK, max_examples=200, database=None, derandomize=True)
    @given(cases())
    def search(case):
        if found or reasons_against(*case):
            return
        wrong = goes_wrong(*case, rules)
        if wrong:
            found.append((case, wrong))

    search()
    assert found, f"nothing goes wrong without {dropped}"
    case, _ = found[0]
    assert goes_wrong(*case, RULES) == set()
