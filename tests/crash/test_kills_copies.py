"""Whoever dies, and whenever: copies of disks are whole with their manifest, or gone with all the rest.

As `tests.crash.test_kills_external`.  A run that is killed once the guest runs again, and of which
copies alone are missing, is kept where these are whole: else it is undone.  ``SNAPPLAN_KILLS`` sets how
many moments are drawn; the long campaign takes all.
"""

import random
import shutil

import pytest

from planner.run.phases import Phase
from planner.semantics.construct import DiskDescription, vm_state
from planner.store.store import Store
from tests.crash.killed_external import apply, die, recover, vm_of
from tests.crash.killing import IDENTITY, Moments, Planned
from tests.crash.test_kills_external import KILLS, drawn, moments_of, noted, run
from tests.crash.test_random_faults import OLD, OLD_STATE, TAG
from tests.support.fixtures import long

COPY, OTHER, OVERLAY, STATE = "/images/new.c1", "/images/new.c2", "/images/new.o2", "/images/new.s"
CASES = {
    "internal": ("transactional", "11.1", "running", "{internal: disk0}", ""),
    "raw": ("transactional", "7.2", "running", "{internal: disk0}", ", format: raw"),
    "disks-alone": ("transactional", "10.0", "running", "none", ""),
    "paused": ("transactional", "11.1", "paused", "{internal: disk0}", ""),
    "two": ("transactional", "7.2", "running", "{internal: disk0}", "+copy"),
    "overlay": ("transactional", "11.1", "running", "{internal: disk0}", "+overlay"),
    "image": ("vmstate-node", "10.0", "running", f"{{image: {STATE}}}", ""),
    "background": (
        *("background", "11.1", "running"),
        *(f"{{external: {STATE}, capture: background}}", ""),
    ),
}
PLANNED = {}


def planned_for(case):
    """The case's plan and VM, made once."""
    if case not in PLANNED:
        design, version, run_state, state, more = CASES[case]
        beside = {"+copy": f"{{copy: {OTHER}}}", "+overlay": f"{{external: {OVERLAY}}}"}.get(more)
        raw = "" if beside else more
        disks = [
            DiskDescription("disk0", "qcow2", snapshots=(OLD_STATE,)),
            DiskDescription("disk1", "qcow2", snapshots=(OLD,)),
            *([DiskDescription("disk2", "qcow2")] if beside else []),
        ]
        third = f", disk2: {beside}" if beside else ""
        wishes = f"disk0: internal, disk1: {{copy: {COPY}{raw}}}{third}"
        text = f"tag: {TAG}\nmachine-state: {state}\ndisks: {{{wishes}}}\n"
        PLANNED[case] = Planned.of(vm_state(version, disks, run_state=run_state), text, design)
    return PLANNED[case]


def waiting(planned, folder):
    """The moments at which copies were waited for, and nothing of them is closed yet."""
    moments, vm = Moments(), vm_of(planned)
    run(apply(vm, planned, folder), vm, moments)
    seen = moments.seen
    resumed = "after cont" if "after cont" in seen else "after transaction"
    begin, end = seen.index(resumed), seen.index("before blockdev-del")
    # Once the answer is written down: before that, nobody knows whether the guest runs.
    written = seen.index("after a record", begin) + 1
    return [at for at in range(written, end) if not seen[at].endswith("a record")]


@pytest.mark.parametrize("goes_on", [False, True], ids=["at-once", "later"])
@pytest.mark.parametrize(
    "case", ["internal", "two", *long("raw", "disks-alone", "paused", "overlay")]
)
def test_a_run_that_waited_for_copies_is_kept_where_they_are_whole(case, goes_on, tmp_path):
    """Nothing else was left to do: the copies are closed and named; one at work is cancelled."""
    planned = planned_for(case)
    for moment in waiting(planned, tmp_path / "count"):
        folder, vm = tmp_path / str(moment), vm_of(planned)
        assert run(apply(vm, planned, folder), vm, Moments(moment)) is None
        whole = goes_on or not vm.state.block_work
        if goes_on:
            vm.goes_on()
        with noted(case, moment):
            ended = judge(vm, planned, folder, run(recover(vm, folder), vm, Moments()))
            assert (ended is Phase.DONE) or not whole, "a whole copy is thrown away"


def judge(vm, planned, folder, outcomes):
    """Every part and the manifest, or nothing at all; which of the two."""
    store = Store(folder).vm(IDENTITY)
    manifests = store.manifests().found
    assert store.journal_files() == (), outcomes
    assert [o.left for o in outcomes if o.left] == []
    resolution = planned.plan.program.resolution
    own = resolution.vmstate_node
    gone = {own.node} if own is not None and vm.state.died else set()  # with its file
    nodes = [n for n in vm.state.graph.nodes if n.name not in gone]
    parts = [(n.name, s.name) for n in nodes for s in n.layer.snapshots]
    fresh = [node for node, tag in parts if tag == TAG]
    assert sum(tag == "old" for _, tag in parts) == 2
    phase = outcomes[0].phase if outcomes else Phase.DONE if manifests else Phase.UNDONE
    assert bool(manifests) is (phase is Phase.DONE), "a manifest goes with the parts"
    if phase is Phase.DONE:
        assert fresh == ["disk0"]
        state = () if resolution.state_file is None else (STATE,)
        copies = {copy.path for copy in resolution.copies}
        assert set(vm.files) == {*state, *copies, *(o.path for o in resolution.overlays)}
        assert vm.instant is not None
        assert {vm.files[copy].content for copy in copies} == {vm.instant}, "of one instant, whole"
    else:
        assert phase is Phase.UNDONE
        assert (fresh, vm.files) == ([], {})
    if not vm.state.died:
        judge_alive(vm, planned, done=phase is Phase.DONE)
    return phase


def judge_alive(vm, planned, *, done):
    before, now = planned.state, vm.state
    assert now.run_state == before.run_state
    assert (now.jobs, now.block_work) == ((), ())
    assert (now.fdsets, now.capabilities) == ((), before.capabilities)
    overlays = {o.overlay for o in planned.plan.program.resolution.overlays} if done else set()
    was = {n.name for n in before.graph.nodes}
    left = {n.name for n in now.graph.nodes} - was
    assert {name for name in left if not name.startswith("#")} == overlays
    if not overlays:
        assert [d.node for d in now.devices] == [d.node for d in before.devices]


@pytest.mark.parametrize("goes_on", [False, True], ids=["at-once", "later"])
@pytest.mark.parametrize("case", CASES)
def test_a_kill_at_any_moment_is_recovered(case, goes_on, tmp_path):
    """SIGKILL of snapplan, QEMU alive; recovered at once, or when the copy has ended by itself."""
    planned = planned_for(case)
    for moment in drawn(moments_of(planned, tmp_path / "count"), 60):
        folder, vm = tmp_path / str(moment), vm_of(planned)
        assert run(apply(vm, planned, folder), vm, Moments(moment)) is None
        if goes_on:
            vm.goes_on()
        outcomes = run(recover(vm, folder), vm, Moments())
        with noted(case, moment):
            judge(vm, planned, folder, outcomes)
            assert run(recover(vm, folder), vm, Moments()) == []


@pytest.mark.parametrize("case", CASES)
def test_qemu_dies_with_it(case, tmp_path):
    """Both die: nothing of a copy is left that was not named already."""
    planned = planned_for(case)
    for moment in drawn(moments_of(planned, tmp_path / "count"), 60):
        folder, vm = tmp_path / str(moment), vm_of(planned)
        run(apply(vm, planned, folder), vm, Moments(moment))
        die(vm)
        with noted(case, moment):
            judge(vm, planned, folder, run(recover(vm, folder), vm, Moments()))


def test_a_killed_recovery_is_recovered(tmp_path):
    """SIGKILL of the recovery at a moment of its own; QEMU lives on, or dies in between."""
    dice, names = random.Random(8), list(CASES)
    lengths = {case: moments_of(planned_for(case), tmp_path / case) for case in CASES}
    for number in range(max(KILLS // 12, 1)):
        case = dice.choice(names)
        first, second = dice.randrange(lengths[case]), dice.randrange(60)
        goes_on, dies = dice.random() < 0.5, dice.random() < 0.3
        folder, vm = tmp_path / str(number), vm_of(planned_for(case))
        with noted(case, first, second, goes_on, dies):
            run(apply(vm, planned_for(case), folder), vm, Moments(first))
            if goes_on:
                vm.goes_on()
            outcomes = run(recover(vm, folder), vm, Moments(second))
            if outcomes is None:
                if dies:
                    die(vm)
                outcomes = run(recover(vm, folder), vm, Moments())
            judge(vm, planned_for(case), folder, outcomes)
        shutil.rmtree(folder, ignore_errors=True)
