"""Whoever dies, and whenever: after `recover` every part is there or none, and the guest runs as before.

Exhaustive over the moments of a run (`tests.crash.killing`), for each design; `SNAPPLAN_KILLS` sets how
many pairs of moments (a kill, and a kill of the recovery) are drawn besides; the long script takes all.
"""

import asyncio
import itertools
import os
import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from planner.errors import Refused
from planner.run.phases import Phase
from planner.semantics.construct import DiskDescription, vm_state
from planner.store.current import current_of
from planner.store.store import Store
from tests.crash.killing import (
    IDENTITY,
    Killed,
    Moments,
    Planned,
    apply,
    die,
    process,
    recover,
    restarted,
)
from tests.crash.test_random_faults import OLD, OLD_STATE, TAG, judge

PAIRS = int(os.environ.get("SNAPPLAN_KILLS", "100"))
DESIGNS = ("monolithic", "transactional")
TEXT = (
    f"tag: {TAG}\nmachine-state: {{internal: disk0}}\ndisks: {{disk0: internal, disk1: internal}}\n"
)
NONE = f"tag: {TAG}\nmachine-state: none\ndisks: {{disk0: internal, disk1: internal}}\n"
CASES = [
    ("monolithic", "running", TEXT),
    ("monolithic", "paused", TEXT),
    ("transactional", "running", TEXT),
    ("transactional", "paused", TEXT),
    ("transactional", "running", NONE),
    ("transactional", "running", TEXT + "run-state-after: paused\n"),
]
IDS = [str(number) for number, _ in enumerate(CASES)]
# A running guest in each design always; what differs from that in the run state alone, in campaigns.
SAMPLED = [
    pytest.param(case, marks=() if number in (0, 2, 4) else pytest.mark.long)
    for number, case in enumerate(CASES)
]


PLANNED = {}


def planned_for(case):
    """The case's plan and VM, made once."""
    if case not in PLANNED:
        design, run_state, text = case
        disks = [
            DiskDescription("disk0", "qcow2", snapshots=(OLD_STATE,)),
            DiskDescription("disk1", "qcow2", snapshots=(OLD,)),
        ]
        PLANNED[case] = Planned.of(vm_state("11.1", disks, run_state=run_state), text, design)
    return PLANNED[case]


def run_and_kill(vm, planned, folder, moments, *, power_loss=False):
    """A run that may be killed."""
    try:
        with process(vm, moments, power_loss=power_loss):
            return asyncio.run(apply(vm, planned, folder))
    except Killed:
        return None


def run_recovery(vm, folder, moments, another=None):
    """A recovery that may be killed; None where it was."""
    try:
        with process(vm, moments):
            return asyncio.run(recover(vm, folder, another=another))
    except Killed:
        return None


def test_a_killed_run_keeps_nothing_open(tmp_path):
    """As the kernel closes what a process had open: runs by the thousand would hold a file each."""
    planned, before = planned_for(CASES[0]), open_files()
    assert run_and_kill(planned.vm(), planned, tmp_path, Moments(20)) is None
    assert list(tmp_path.rglob("*.journal"))
    assert open_files() - before == set()


def open_files():
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the folder's own, while it is read
            found.add(f"{each.name} {each.readlink()}")
    return found


def moments_of(planned, folder):
    """How many moments an undisturbed run has."""
    moments = Moments()
    outcome = run_and_kill(planned.vm(), planned, folder, moments)
    assert outcome.phase is Phase.DONE
    return len(moments.seen)


class End:
    """What the judge wants to know of an end."""

    def __init__(self, phase, outcomes):
        self.phase = phase
        self.left = outcomes[0].left if outcomes else ()


def settled(vm, planned, folder, outcomes):
    """The judge, after recovery."""
    store = Store(folder).vm(IDENTITY)
    manifests = store.manifests().found
    assert store.journal_files() == (), "something is still pending"
    assert len(outcomes) <= 1
    parts = [s for n in vm.state.graph.nodes for s in n.layer.snapshots if s.name == TAG]
    phase = outcomes[0].phase if outcomes else Phase.DONE if manifests else Phase.UNDONE
    assert bool(manifests) is (phase is Phase.DONE), "a manifest goes with the parts"
    assert current_of(store) == (manifests[0].lineage if manifests else ())
    if manifests:
        ids = {part.snapshot_id for part in manifests[0].parts}
        assert ids <= {part.id for part in parts}
    judge(vm, planned.plan.program, planned.state, End(phase, outcomes))


@pytest.mark.parametrize("power_loss", [False, True], ids=["killed", "power-loss"])
@pytest.mark.parametrize("case", SAMPLED, ids=IDS)
def test_a_kill_at_any_moment_is_recovered(case, power_loss, tmp_path):
    """SIGKILL of snapplan at each moment, QEMU alive: every part, or none; then nothing is pending."""
    planned, ends = planned_for(case), set()
    for moment in range(moments_of(planned, tmp_path / "count")):
        folder, vm = tmp_path / str(moment), planned.vm()
        killed = run_and_kill(vm, planned, folder, Moments(moment), power_loss=power_loss)
        assert killed is None
        outcomes = run_recovery(vm, folder, Moments())
        settled(vm, planned, folder, outcomes)
        assert run_recovery(vm, folder, Moments()) == []
        ends |= {outcome.phase for outcome in outcomes}
    assert ends == {Phase.DONE, Phase.UNDONE}


@pytest.mark.parametrize("again", [False, True], ids=["gone", "started-again"])
@pytest.mark.parametrize("case", SAMPLED, ids=IDS)
def test_qemu_dies_with_it(case, again, tmp_path):
    """Both die at each moment: the images are repaired by id, alone or through a QEMU started since."""
    planned = planned_for(case)
    for moment in range(moments_of(planned, tmp_path / "count")):
        folder, vm = tmp_path / str(moment), planned.vm()
        run_and_kill(vm, planned, folder, Moments(moment))
        die(vm)
        other = restarted(vm) if again else None
        outcomes = run_recovery(vm, folder, Moments(), other)
        if other is not None:
            assert other.state.run_state == "running"
            vm.state = other.state
            die(vm)
        settled(vm, planned, folder, outcomes)


@pytest.mark.parametrize("design", DESIGNS)
def test_a_full_disk_undoes_the_run(design, tmp_path):
    """The journal cannot be written from any record on: refused, undone, or done; nothing pending."""
    planned, ends = planned_for((design, "running", TEXT)), []
    with process(vm := planned.vm(), Moments(full_from=0)), pytest.raises(Refused, match="journal"):
        asyncio.run(apply(vm, planned, tmp_path / "0"))
    assert vm.state == planned.state
    for full_from in itertools.count(1):
        vm, folder, moments = planned.vm(), tmp_path / str(full_from), Moments(full_from=full_from)
        outcome = run_and_kill(vm, planned, folder, moments)
        judge(vm, planned.plan.program, planned.state, outcome)
        assert Store(folder).vm(IDENTITY).journal_files() == ()
        assert outcome.failure is None or outcome.failure.code == "journal-unwritable"
        ends.append(outcome.phase)
        if moments.appends <= full_from:
            break
    assert {Phase.UNDONE, Phase.DONE} == set(ends)
    assert ends[0] is Phase.UNDONE, "the first step is not done unrecorded"


def pair(case, first, second, folder, *, qemu_dies):
    """A kill of the run, a kill of its recovery, and a recovery that lives."""
    planned = planned_for(case)
    vm = planned.vm()
    run_and_kill(vm, planned, folder, Moments(first))
    if qemu_dies:
        die(vm)
    outcomes = run_recovery(vm, folder, Moments(second))
    if outcomes is None:
        outcomes = run_recovery(vm, folder, Moments())
    settled(vm, planned, folder, outcomes)


def test_a_killed_recovery_is_recovered(tmp_path):
    """SIGKILL of the recovery at a moment of its own, QEMU alive or dead."""
    dice = random.Random(6)
    lengths = [moments_of(planned_for(case), tmp_path / f"n{n}") for n, case in enumerate(CASES)]
    for number in range(PAIRS):
        which = dice.randrange(len(CASES))
        first, second = dice.randrange(lengths[which]), dice.randrange(40)
        dies = dice.random() < 0.4
        folder = tmp_path / str(number)
        try:
            pair(CASES[which], first, second, folder, qemu_dies=dies)
        except BaseException as error:
            error.add_note(f"case {which}, killed at {first} and {second}, QEMU dead: {dies}")
            raise
        shutil.rmtree(folder, ignore_errors=True)  # killed before anything was there
