"""Whatever strikes a run on a VM with migration settings left on: they are put back, and spoil nothing.

QEMU 7.2 and 10.0 crash in a save or a load while `multifd` is on (fact 64), so one command in the wrong
order, forward or in an undo, is seen at once.  From 10.0 on QEMU remembers a failed migration (fact 65).
"""

import asyncio

import pytest
from attrs import evolve

from planner.compile.plan import compile_request
from planner.load.load_checks import plan_load
from planner.load.loading import LoadMachine
from planner.model.request_text import read_request
from planner.run.phases import Phase
from planner.run.pump import Pump, ask_facts
from planner.save.save_machine import SaveMachine
from planner.semantics.construct import DiskDescription, vm_state
from tests.crash.faulty_vm import FAULTS, Fault, FaultyVm
from tests.crash.killing import Moments, Planned
from tests.crash.machines import Run, make_vm, survey
from tests.crash.test_kills import DESIGNS, TEXT, run_and_kill, run_recovery, settled
from tests.crash.test_load_faults import judge as judge_load
from tests.crash.test_random_faults import OLD, OLD_STATE, TAG
from tests.crash.test_random_faults import judge as judge_save

LEFT_ON = frozenset({"events", "multifd", "x-ignore-shared"})
MODE = (("mode", "cpr-reboot"),)


def left_on(state, *, failed=False):
    """The VM with settings that somebody left; perhaps a migration of his has failed."""
    found = evolve(state, capabilities=LEFT_ON)
    if state.profile.name != "7.2":
        found = evolve(found, parameters=MODE)
    failure = evolve(found.migration, status="failed", error="no room")
    return evolve(found, migration=failure) if failed else found


def assert_put_back(vm, outcome):
    """As they were, or the account says that they are not."""
    if vm.state.died or outcome.phase is Phase.UNKNOWN:
        return
    mode = {} if vm.state.profile.name == "7.2" else dict(MODE)
    now = {name: value for name, value in vm.state.parameters if name == "mode"}
    as_found = (vm.state.capabilities, now) == (LEFT_ON, mode)
    assert as_found or "settings-left" in {problem.code for problem in outcome.left}, outcome


def loading(version, fault=None, **kill):
    """A load on a VM on which everything is left that can be."""
    vm, manifest = make_vm(version=version)
    vm.state = left_on(vm.state, failed=True)
    vm.migrates = True
    facts, images = asyncio.run(survey(vm))
    order = plan_load(manifest, facts, images)
    vm.faults = [fault] if fault else []
    run = Run(lambda: LoadMachine.of(order), vm, **kill)
    outcome = run.end()
    judge_load(vm, order, outcome)
    assert_put_back(vm, outcome)
    return run, outcome


@pytest.mark.parametrize("version", ["7.2", "10.0", "11.1"])
def test_a_load_is_done_whatever_is_left_on(version):
    """Nothing is reverted under settings, or with an error, that would make it fail."""
    run, outcome = loading(version)
    assert outcome.phase is Phase.DONE, outcome
    assert version == "7.2" or run.vm.state.migration.error == ""


@pytest.mark.sample(4)
@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_at_each_command_of_such_a_load(kind):
    """The load ends well, and the settings with it."""
    commands = len(loading("10.0")[0].vm.sent)
    for command in range(commands + 2):
        loading("10.0", Fault(kind, command, command % 6))


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_snapplan_killed_at_each_action_of_such_a_load(done):
    """A new machine that is told the same goes on from there."""
    actions = len(loading("10.0")[0].asked)
    for number in range(actions):
        _, outcome = loading("10.0", kill_at=number, done=done)
        assert outcome.phase in (Phase.DONE, Phase.UNDONE), (number, outcome)


def disks():
    return [
        DiskDescription("disk0", "qcow2", snapshots=(OLD_STATE,)),
        DiskDescription("disk1", "qcow2", snapshots=(OLD,)),
    ]


@pytest.mark.sample(6)
@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("design", DESIGNS)
def test_each_fault_at_each_command_of_a_save(design, kind):
    """QEMU does not crash, every part is there or none, and the settings are as they were."""
    for command in range(16):
        vm = FaultyVm(left_on(vm_state("10.0", disks())), TAG, [Fault(kind, command, command % 6)])

        async def one_run(vm=vm):
            facts = await ask_facts(vm)
            program = compile_request(read_request(TEXT), facts, design).program
            before, vm.armed = vm.state, True
            return (
                program,
                before,
                await Pump(SaveMachine.on(program, facts), vm, images=vm, clock=vm).run(),
            )

        program, before, outcome = asyncio.run(one_run())
        assert vm.state.died in ("", "killed")
        judge_save(vm, program, before, outcome)
        assert_put_back(vm, outcome)


@pytest.mark.parametrize(
    "design", ["monolithic", pytest.param("transactional", marks=pytest.mark.long)]
)
def test_a_kill_at_any_moment_of_a_save_is_recovered(design, tmp_path):
    """The settings too: the journal knows what they were."""
    planned = Planned.of(left_on(vm_state("10.0", disks())), TEXT, design)
    moments = Moments()
    assert run_and_kill(planned.vm(), planned, tmp_path / "count", moments).phase is Phase.DONE
    for moment in range(len(moments.seen)):
        folder, vm = tmp_path / str(moment), planned.vm()
        run_and_kill(vm, planned, folder, Moments(moment))
        outcomes = run_recovery(vm, folder, Moments())
        settled(vm, planned, folder, outcomes)
        assert vm.state.died == ""
        assert vm.state.capabilities == LEFT_ON, moment
