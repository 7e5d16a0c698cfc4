"""Whatever strikes the load of a group, no guest runs while one member is back and another is not."""

import asyncio
import functools
import shutil

import pytest

from planner.errors import RunFailed
from planner.group.records import GroupStore
from planner.run.phases import Phase
from planner.store.store import Store
from tests.crash.faulty_vm import FAULTS, Fault
from tests.crash.groups import (
    GROUP,
    Group,
    GroupMoments,
    die,
    identity_of,
    in_process,
    load,
    no_two_instants,
    recover,
    saved,
)
from tests.crash.machines import image_node

BOTH = {"disk0", "disk1"}
PLACES = {"micro-step": 6, "die-inside": 6}
FOREIGN = ("foreign-cont", "foreign-stop", "foreign-tag")
MADE = {}


def made(tmp_path_factory):
    """A group that was saved, once: its VMs, and a folder with its store."""
    if not MADE:
        group = Group.of(("running", "running"))
        folder = tmp_path_factory.mktemp("made")
        MADE["group"] = group, folder, saved(group, folder)
    return MADE["group"]


@pytest.fixture
def again(tmp_path_factory, tmp_path):
    """Makes the VMs and a store of their own, as they were before the load."""
    group, folder, states = made(tmp_path_factory)

    def fresh(name, seed=None, faults=None):
        own = tmp_path / name
        shutil.copytree(folder, own)
        return group, group.vms(seed, faults, states), own

    return fresh


def test_every_member_goes_back_and_none_goes_on_before(again):
    """In whatever order they get on: all stop, all are loaded, then all go on."""
    for seed in range(6):
        _, vms, folder = again(str(seed), seed)
        loaded = asyncio.run(load(vms, folder))
        assert loaded.failure is None
        assert {each.run_state for each in loaded.outcomes.values()} == {"running"}
        assert [vm.reverted for vm in vms.values()] == [BOTH, BOTH]
        what = [what for _, what in vms["m0"].order]
        assert what == ["stops", "stops", "goes on", "goes on"]
        assert not GroupStore.of(Store(folder)).loads.path(GROUP).exists()


KEPT = "kept"


def kept_on(vms):
    """By member, the disks that hold a snapshot of what was there before."""
    return {
        name: {
            disk
            for disk in BOTH
            if any(each.name == KEPT for each in image_node(vm, disk).layer.snapshots)
        }
        for name, vm in vms.items()
    }


def test_what_was_there_is_kept_and_no_guest_runs_between(again):
    """All stop, once; it is saved, as a group; all are loaded; then all go on."""
    for seed in range(3):
        _, vms, folder = again(str(seed), seed)
        loaded = asyncio.run(load(vms, folder, KEPT))
        assert (loaded.failure, loaded.kept) == (None, KEPT)
        assert {each.run_state for each in loaded.outcomes.values()} == {"running"}
        assert [vm.reverted for vm in vms.values()] == [BOTH, BOTH]
        assert kept_on(vms) == {"m0": BOTH, "m1": BOTH}
        what = [what for _, what in vms["m0"].order]
        assert what == ["stops", "stops", "goes on", "goes on"]
        assert GroupStore.of(Store(folder)).find(KEPT).committed


def test_what_cannot_be_kept_is_not_lost(again):
    """A fault while it is saved: no disk is reverted, no snapshot is left, and every guest runs."""
    for name in ("m0", "m1"):
        for command in (1, 2):
            _, vms, folder = again(f"{name}-{command}", 1, {name: [Fault("refuse", command, 0)]})
            with pytest.raises(RunFailed):
                asyncio.run(load(vms, folder, KEPT))
            assert [vm.reverted for vm in vms.values()] == [set(), set()]
            assert kept_on(vms) == {"m0": set(), "m1": set()}
            assert {vm.state.run_state for vm in vms.values()} == {"running"}
            groups = GroupStore.of(Store(folder))
            assert groups.find(KEPT) is None
            assert groups.loads.find(GROUP) is None
            for each in vms:
                assert Store(folder).vm(identity_of(each)).journal_files() == ()


def struck(again, kind, every=1):
    """Each so many-th place of a fault; in which phases the members ended."""
    _, clean, folder = again(f"{kind}-clean")
    assert asyncio.run(load(clean, folder)).failure is None
    places = [
        (name, command, place)
        for name, vm in clean.items()
        for command in range(len(vm.sent))
        for place in range(PLACES.get(kind, 1))
    ]
    ends = set()
    for name, command, place in places[FAULTS.index(kind) % every :: every]:
        fault = Fault(kind, command, place, "disk1")
        _, vms, folder = again(f"{kind}-{name}-{command}-{place}", command, {name: [fault]})
        loaded = asyncio.run(load(vms, folder))
        phases = {each.phase for each in loaded.outcomes.values()}
        try:
            if kind not in FOREIGN:
                no_two_instants(vms)
            judged(vms, loaded.outcomes, phases, kind)
        except AssertionError as error:
            error.add_note(f"{fault} in {name}: {loaded.failure}, {loaded.outcomes}")
            raise
        ends |= phases
    return ends


def judged(vms, outcomes, phases, kind):
    """What is said of each member is true, and all that were not touched are as before."""
    if phases == {Phase.DONE}:
        assert all(vm.reverted == BOTH for vm in vms.values())
    if phases == {Phase.UNDONE} and kind not in FOREIGN:
        assert all(not vm.reverted for vm in vms.values())
        alive = [vm for vm in vms.values() if not vm.state.died]
        assert {vm.state.run_state for vm in alive} <= {"running"}
    for name, outcome in outcomes.items():
        ran_on = outcome.failure is not None and outcome.failure.code == "resumed-by-other"
        if outcome.loaded and not ran_on:  # one that ran on has written since
            assert vms[name].reverted == BOTH
        if outcome.phase is Phase.UNDONE:
            assert not vms[name].reverted


def test_a_fault_in_one_member_lets_no_other_go_on(again):
    """Each kind of fault at some commands of each of two members."""
    ends = set()
    for kind in FAULTS:
        ends |= struck(again, kind, every=7)
    assert {Phase.DONE, Phase.UNDONE, Phase.INCOMPLETE} <= ends


@pytest.mark.long
@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_at_every_command(kind, again):
    """The same, at each command and at each place inside."""
    assert struck(again, kind)


def killed(again, qemus, every=1, keep=""):
    """A kill at each so many-th moment, then `recover`; in which phases it ended."""
    _, vms, folder = again("count")
    moments, ends = GroupMoments(), set()
    in_process(vms, moments, functools.partial(load, vms, folder, keep))
    decisions = [n for n, what in enumerate(moments.seen) if what == "before the group's write"][1:]
    assert len(decisions) == (4 if keep else 2), "(begun, committed,) loading, and loaded"
    around = {at + more for at in decisions for more in range(-3, 6)}
    for moment in sorted({*range(0, len(moments.seen), every), *around}):
        _, vms, folder = again(str(moment))
        loading = functools.partial(load, vms, folder, keep)
        died = in_process(vms, GroupMoments(moment), loading)
        assert died is None
        for name in qemus:
            die(vms[name])
        work = functools.partial(recover, vms, folder)
        outcomes = in_process(vms, GroupMoments(), work)
        try:
            no_two_instants(vms)
            for name in vms:
                journals = Store(folder).vm(identity_of(name)).journal_files()
                assert journals == (), f"{name} is still pending"
            assert in_process(vms, GroupMoments(), work) == {}
            if keep:
                all_kept_or_none(vms, folder)
        except AssertionError as error:
            error.add_note(f"killed {moments.seen[moment]} (moment {moment}): {outcomes}")
            raise
        if outcomes:
            assert not GroupStore.of(Store(folder)).loads.path(GROUP).exists()
        ends |= {each.phase for each in outcomes.values()}
    return ends


def all_kept_or_none(vms, folder):
    """What was there before is whole or nowhere, and nothing is lost that is not kept."""
    alive = {name: vm for name, vm in vms.items() if not vm.state.died}
    record = GroupStore.of(Store(folder)).find(KEPT)
    whole = record is not None and record.committed
    assert set(map(frozenset, kept_on(alive).values())) <= {frozenset(BOTH if whole else ())}
    if not whole:
        assert not any(vm.reverted for vm in vms.values())
        assert {vm.state.run_state for vm in alive.values()} <= {"running"}


def test_a_killed_load_that_keeps_what_was_there_is_recovered(again):
    """SIGKILL at some moments, and at all around the decisions of both."""
    assert killed(again, (), 400, KEPT) >= {Phase.DONE, Phase.UNDONE}


@pytest.mark.long
@pytest.mark.parametrize("qemus", [(), ("m0",)], ids=["alive", "one"])
def test_a_load_that_keeps_killed_at_any_moment_is_recovered(qemus, again):
    """At each moment, with its QEMUs or without."""
    assert killed(again, qemus, 1, KEPT)


def test_a_killed_load_is_recovered(again):
    """SIGKILL at some moments, and at all around both decisions."""
    assert killed(again, (), 12) == {Phase.DONE, Phase.UNDONE, Phase.INCOMPLETE}


@pytest.mark.long
@pytest.mark.parametrize("qemus", [(), ("m0",), ("m0", "m1")], ids=["alive", "one", "both"])
def test_a_load_killed_at_any_moment_is_recovered(qemus, again):
    """At each moment, with its QEMUs or without."""
    assert killed(again, qemus)
