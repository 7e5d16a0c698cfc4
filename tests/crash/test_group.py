"""Whatever strikes any member of a group, every member has its snapshot or none has."""

import asyncio
import functools

import pytest

from planner.group.records import GroupStore
from planner.run.phases import Phase
from planner.store.store import Store
from tests.crash.faulty_vm import FAULTS, Fault
from tests.crash.groups import (
    GROUP,
    Group,
    GroupMoments,
    apply,
    die,
    identity_of,
    in_process,
    orders_fit,
    parts_of,
    recover,
)
from tests.crash.test_random_faults import judge

PLACES = {"micro-step": 5, "die-inside": 5}
GROUPS = {}


def group_of(*run_states):
    """The group, planned once."""
    if run_states not in GROUPS:
        GROUPS[run_states] = Group.of(run_states)
    return GROUPS[run_states]


def run(group, vms, folder):
    return asyncio.run(apply(group, vms, folder))


def run_and_kill(group, vms, folder, moments, *, power_loss=False):
    work = functools.partial(apply, group, vms, folder)
    return in_process(vms, moments, work, power_loss=power_loss)


def run_recovery(vms, folder):
    return in_process(vms, GroupMoments(), functools.partial(recover, vms, folder))


def settled(vms, folder, phases):
    """All or none, in the VMs and in the store."""
    store = Store(folder)
    made = {name: bool(parts_of(vm)) for name, vm in vms.items()}
    manifests = {name: bool(store.vm(identity_of(name)).manifests().found) for name in vms}
    record = GroupStore.of(store).find(GROUP)
    known = {Phase.DONE, Phase.UNDONE}
    assert len(set(manifests.values())) == 1, f"some are recorded and some are not: {manifests}"
    whole = all(manifests.values())
    assert whole is bool(record is not None and record.committed)
    if set(phases) <= known:
        assert len(set(phases)) == 1, phases
        assert set(made.values()) == {whole}, f"some have parts and some have not: {made}"
        assert record is None or whole, "the record of a group that was never made stays"
    if whole:
        assert set(phases) == {Phase.DONE}
        assert all(made.values())


def judged(group, vms, outcomes):
    """Each member by itself, by the judge of runs alone."""
    for member in group.plan.members:
        vm = vms[member.name]
        judge(vm, member.plan.program, group.states[member.name], outcomes[member.name])


def test_a_group_is_made_at_one_instant(tmp_path):
    """Every guest stands before any goes on, in whatever order the members get on."""
    group = group_of("running", "running", "paused")
    for seed in range(8):
        vms = group.vms(seed)
        saved = run(group, vms, tmp_path / str(seed))
        assert saved.failure is None
        assert {each.phase for each in saved.outcomes.values()} == {Phase.DONE}
        assert orders_fit(vms["m0"].order), vms["m0"].order
        settled(vms, tmp_path / str(seed), [each.phase for each in saved.outcomes.values()])
        judged(group, vms, saved.outcomes)


TWO = ("running", "running")
THREE = ("running", "paused", "running")
SERVED = ("running", "daemon")


def test_a_daemon_captures_while_the_guests_stand(tmp_path):
    """In whatever order the members get on; one of two guests stood before."""
    for states in (("running", "daemon"), ("running", "paused", "daemon", "daemon")):
        group = group_of(*states)
        for seed in range(8):
            vms, folder = group.vms(seed), tmp_path / f"{len(states)}-{seed}"
            saved = run(group, vms, folder)
            assert saved.failure is None
            order = vms["m0"].order
            assert orders_fit(order), order
            assert [what for _, what in order].count("captures") == states.count("daemon")
            settled(vms, folder, [each.phase for each in saved.outcomes.values()])
            judged(group, vms, saved.outcomes)


def struck(kind, folder, every=1, members=TWO):
    """Each so many-th place of a fault, in any member; in which phases they ended."""
    group = group_of(*members)
    clean, ends = group.vms(), set()
    assert run(group, clean, folder / "clean").failure is None
    places = [
        (name, command, place)
        for name, vm in clean.items()
        for command in range(len(vm.sent))
        for place in range(PLACES.get(kind, 1))
    ]
    for name, command, place in places[FAULTS.index(kind) % every :: every]:
        fault, own = Fault(kind, command, place, "disk1"), folder / f"{name}-{command}-{place}"
        vms = group.vms(seed=command, faults={name: [fault]})
        saved = run(group, vms, own)
        phases = [each.phase for each in saved.outcomes.values()]
        try:
            settled(vms, own, phases)
            judged(group, vms, saved.outcomes)
            assert saved.failure is not None or orders_fit(vms["m0"].order)
        except AssertionError as error:
            error.add_note(f"{fault} in {name}: {saved.failure}, {phases}")
            raise
        ends |= set(phases)
    return ends


def test_a_fault_in_one_member_is_a_fault_of_all(tmp_path):
    """Each kind of fault at some commands of each of two members: whole, or undone in both."""
    ends = set()
    for kind in FAULTS:
        ends |= struck(kind, tmp_path / kind, every=9)
    assert {Phase.DONE, Phase.UNDONE} <= ends


def test_a_fault_in_a_vm_or_in_its_daemon_is_a_fault_of_both(tmp_path):
    """The same, where one of them is a storage daemon."""
    ends = set()
    for kind in FAULTS:
        ends |= struck(kind, tmp_path / kind, every=9, members=SERVED)
    assert {Phase.DONE, Phase.UNDONE} <= ends


@pytest.mark.long
@pytest.mark.parametrize("members", [TWO, THREE, SERVED], ids=["two", "three", "served"])
@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_at_every_command(kind, members, tmp_path):
    """The same, at each command and at each place inside."""
    assert struck(kind, tmp_path, members=members)


def killed(folder, qemus, every=1, *, power_loss=False, members=TWO):
    """A kill at each so many-th moment of a group, then `recover`; in which phases it ended."""
    group = group_of(*members)
    moments, vms, ends = GroupMoments(), group.vms(), set()
    before = {name: state.run_state for name, state in group.states.items()}
    run_and_kill(group, vms, folder / "count", moments)
    decided = moments.seen.index("before the group's write", 2)  # the commit: all around it, always
    around = range(decided - 3, decided + 6)
    chosen = sorted({*range(0, len(moments.seen), every), *around})
    for moment in chosen:
        own, vms = folder / str(moment), group.vms()
        died = run_and_kill(group, vms, own, GroupMoments(moment), power_loss=power_loss)
        assert died is None
        for name in qemus:
            die(vms[name])
        outcomes = run_recovery(vms, own)
        try:
            _recovered(vms, own, outcomes, before)
            assert run_recovery(vms, own) == {}
        except AssertionError as error:
            error.add_note(f"killed {moments.seen[moment]} (moment {moment}): {outcomes}")
            raise
        ends |= {each.phase for each in outcomes.values()}
    return ends


QEMUS = {"alive": (), "one-dies": ("m0",), "both-die": ("m0", "m1")}


@pytest.mark.parametrize(
    ("dying", "power_loss"), [("alive", False), ("one-dies", True)], ids=["killed", "power-loss"]
)
def test_a_killed_group_is_recovered(dying, power_loss, tmp_path):
    """SIGKILL at some moments, and at all around the decision: every member whole, or none."""
    ends = killed(tmp_path, QEMUS[dying], 12, power_loss=power_loss)
    assert ends == {Phase.DONE, Phase.UNDONE}


@pytest.mark.parametrize("dying", ["alive", pytest.param("both-die", marks=pytest.mark.long)])
def test_a_killed_group_with_a_daemon_is_recovered(dying, tmp_path):
    """A VM and its daemon: both whole, or neither."""
    assert killed(tmp_path, QEMUS[dying], 16, members=SERVED) == {Phase.DONE, Phase.UNDONE}


@pytest.mark.long
@pytest.mark.parametrize("members", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("dying", QEMUS)
@pytest.mark.parametrize("power_loss", [False, True], ids=["killed", "power-loss"])
def test_a_kill_at_any_moment_is_recovered(power_loss, dying, members, tmp_path):
    """At each moment, with its QEMUs or without."""
    ends = killed(tmp_path, QEMUS[dying], power_loss=power_loss, members=members)
    assert ends == {Phase.DONE, Phase.UNDONE}


def _recovered(vms, folder, outcomes, run_states):
    store = Store(folder)
    record = GroupStore.of(store).find(GROUP)
    whole = record is not None and record.committed
    for name, vm in vms.items():
        share = store.vm(identity_of(name))
        assert share.journal_files() == (), "something is still pending"
        assert bool(share.manifests().found) is whole
        assert bool(parts_of(vm)) is whole
        if name in outcomes:
            assert outcomes[name].phase is (Phase.DONE if whole else Phase.UNDONE)
        if not vm.state.died:
            assert vm.state.run_state == run_states[name]
