"""Whoever dies, and whenever: overlays and streams are whole with their manifest, or gone.

As `tests.crash.test_kills`, with the host's files: after `recover` either every part and the manifest
are there, or no file, no snapshot, no overlay on a disk, and the VM's settings are as before; what the
guest wrote is never lost.  ``SNAPPLAN_KILLS`` sets how many moments are drawn in each test; the long
campaign takes all.
"""

import asyncio
import os
import random
import shutil

import pytest

from planner.run.phases import Phase
from planner.semantics import content_node, lookup
from planner.semantics.construct import DiskDescription, vm_state
from planner.store.store import Store
from tests.crash.killed_external import apply, die, recover, vm_of
from tests.crash.killing import IDENTITY, Killed, Moments, Planned, process
from tests.crash.test_random_faults import OLD, OLD_STATE, TAG

KILLS = int(os.environ.get("SNAPPLAN_KILLS", "160"))
DISKS = "disks: {disk0: internal, disk1: {external: /images/new.qcow2}}\n"
STREAM, OVERLAY = "/images/new.state", "/images/new.qcow2"
CASES = [
    ("transactional", "11.1", "running", "none"),
    ("transactional", "7.2", "daemon", "none"),
    ("external", "7.2", "running", "stopped"),
    ("external", "11.1", "running", "stopped"),
    ("live", "7.2", "running", "live"),
    ("live", "11.1", "running", "live"),
    ("background", "11.1", "running", "background"),
    ("background", "11.1", "paused", "background"),
    ("vmstate-node", "7.2", "running", "image"),
    ("vmstate-node", "11.1", "paused", "image"),
]
IDS = [f"{design}-{version}-{state}" for design, version, state, _ in CASES]
PLANNED = {}


def planned_for(case):
    """The case's plan and VM, made once."""
    if case not in PLANNED:
        design, version, run_state, capture = case
        state = "none" if capture == "none" else f"{{external: {STREAM}, capture: {capture}}}"
        if capture == "image":
            state = f"{{image: {STREAM}}}"
        disks = [
            DiskDescription("disk0", "qcow2", snapshots=(OLD_STATE,)),
            DiskDescription("disk1", "qcow2", snapshots=(OLD,)),
        ]
        text = f"tag: {TAG}\nmachine-state: {state}\n{DISKS}"
        # A storage daemon serves on: nothing of it can stand.
        daemon = run_state == "daemon"
        at = {"run_state": "running" if daemon else run_state, "daemon": daemon}
        PLANNED[case] = Planned.of(vm_state(version, disks, **at), text, design)
    return PLANNED[case]


def run(work, vm, moments):
    """A process of snapplan; None where it was killed."""
    try:
        with process(vm, moments):
            return asyncio.run(work)
    except Killed:
        return None


def moments_of(planned, folder):
    moments, vm = Moments(), vm_of(planned)
    outcome = run(apply(vm, planned, folder), vm, moments)
    assert outcome.phase is Phase.DONE, outcome
    return len(moments.seen)


def judge(vm, planned, folder, outcomes):
    """Every part and the manifest, or nothing at all."""
    store = Store(folder).vm(IDENTITY)
    manifests = store.manifests().found
    assert store.journal_files() == (), outcomes
    assert [o.left for o in outcomes if o.left] == []
    own = planned.plan.program.resolution.vmstate_node
    gone = {own.node} if own is not None and vm.state.died else set()  # with its file
    nodes = [n for n in vm.state.graph.nodes if n.name not in gone]
    parts = [(n.name, s.name) for n in nodes for s in n.layer.snapshots]
    fresh = [node for node, tag in parts if tag == TAG]
    assert sum(tag == "old" for _, tag in parts) == 2
    phase = outcomes[0].phase if outcomes else Phase.DONE if manifests else Phase.UNDONE
    assert bool(manifests) is (phase is Phase.DONE), "a manifest goes with the parts"
    made = {OVERLAY} | ({STREAM} if planned.plan.program.resolution.state_file else set())
    if phase is Phase.DONE:
        assert fresh == ["disk0"]
        assert set(vm.files) == made
    else:
        assert phase is Phase.UNDONE
        assert fresh == []
        assert vm.files == {}
    if not vm.state.died:
        judge_alive(vm, planned, done=phase is Phase.DONE)


def judge_alive(vm, planned, *, done):
    before, now = planned.state, vm.state
    assert now.run_state == before.run_state
    assert not now.frozen
    assert now.capabilities == before.capabilities
    kept = dict(now.parameters)
    facts = dict(planned.facts.parameters)
    assert all(facts.get(name, value) == value for name, value in kept.items())
    assert now.fds == ()
    assert now.fdsets == ()
    assert not now.migration.under_way
    assert all(node.active for node in now.graph.nodes)
    assert now.jobs == ()
    roots = [device.node for device in now.devices]
    if done:
        assert roots != [device.node for device in before.devices]
    else:
        assert roots == [device.node for device in before.devices]
        assert {n.name for n in now.graph.nodes} == {n.name for n in before.graph.nodes}


def drawn(length, share):
    """Which moments are taken: all of them where that many are asked for."""
    wanted = max(KILLS // share, 1)
    if wanted >= length:
        return range(length)
    return sorted(random.Random(wanted).sample(range(length), wanted))


def disk_of_guest(vm):
    """What the guest reads from the disk with the overlay."""
    roots = {d.qdev: d.node for d in vm.state.devices}
    [root] = [node for qdev, node in roots.items() if "disk1" in qdev]
    return content_node(vm.state.graph, vm.state.graph.node(root)).layer.content


def base_of(vm):
    return content_node(vm.state.graph, lookup(vm.state, "disk1")).layer.content


@pytest.mark.sample(5)
@pytest.mark.parametrize("goes_on", [False, True], ids=["at-once", "later"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_kill_at_any_moment_is_recovered(case, goes_on, tmp_path):
    """SIGKILL of snapplan, QEMU alive; recovered at once, or when the stream has gone on by itself."""
    planned, ends = planned_for(case), set()
    for moment in drawn(moments_of(planned, tmp_path / "count"), 4):
        folder, vm = tmp_path / str(moment), vm_of(planned)
        assert run(apply(vm, planned, folder), vm, Moments(moment)) is None
        if goes_on:
            vm.goes_on()
        outcomes = run(recover(vm, folder), vm, Moments())
        with noted(case, moment):
            judge(vm, planned, folder, outcomes)
            assert run(recover(vm, folder), vm, Moments()) == []
        ends |= {outcome.phase for outcome in outcomes}
    assert ends <= {Phase.DONE, Phase.UNDONE}


class noted:  # noqa: N801 - reads as a statement
    """Names the case in what fails."""

    def __init__(self, *words):
        self.words = words

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None:
            error.add_note(f"killed: {self.words}")


@pytest.mark.sample(5)
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_qemu_dies_with_it(case, tmp_path):
    """Both die: what the guest wrote is in the image below, and nothing else is left."""
    planned = planned_for(case)
    for moment in drawn(moments_of(planned, tmp_path / "count"), 4):
        folder, vm = tmp_path / str(moment), vm_of(planned)
        run(apply(vm, planned, folder), vm, Moments(moment))
        die(vm)
        wrote = disk_of_guest(vm)
        outcomes = run(recover(vm, folder), vm, Moments())
        with noted(case, moment):
            judge(vm, planned, folder, outcomes)
            if vm.files == {}:
                assert base_of(vm) == wrote, "what the guest wrote is lost"


def pair(case, first, second, folder, *, dies_first, dies_second):
    """A kill of the run, a kill of its recovery, and a recovery that lives; QEMU dies in between."""
    planned = planned_for(case)
    vm = vm_of(planned)
    run(apply(vm, planned, folder), vm, Moments(first))
    if dies_first:
        die(vm)
    wrote = disk_of_guest(vm) if dies_first else None
    outcomes = run(recover(vm, folder), vm, Moments(second))
    if outcomes is None:
        if dies_second and not dies_first:
            vm.goes_on()  # the guest writes on, where it runs
            die(vm)
            wrote = disk_of_guest(vm)
        outcomes = run(recover(vm, folder), vm, Moments())
    judge(vm, planned, folder, outcomes)
    if wrote is not None and vm.files == {}:
        assert base_of(vm) == wrote, "what the guest wrote is lost"


def test_a_killed_recovery_is_recovered(tmp_path):
    """SIGKILL of the recovery at a moment of its own; QEMU lives, is dead, or dies then."""
    dice = random.Random(6)
    lengths = [moments_of(planned_for(case), tmp_path / f"n{n}") for n, case in enumerate(CASES)]
    for number in range(KILLS):
        which = dice.randrange(len(CASES))
        first, second = dice.randrange(lengths[which]), dice.randrange(120)
        dies_first, dies_second = dice.random() < 0.3, dice.random() < 0.5
        folder = tmp_path / str(number)
        with noted(CASES[which], first, second, dies_first, dies_second):
            pair(CASES[which], first, second, folder, dies_first=dies_first,
                 dies_second=dies_second)  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)
