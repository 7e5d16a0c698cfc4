"""Whoever dies in a delete that merges, and whenever: not a byte that the guest wrote is lost.

As `tests.crash.test_kills_external`.  The guest writes before, meanwhile and afterwards; perhaps
somebody continues it by hand where it was held; then QEMU dies, too, or lives.  Whatever is done next
(recover, another delete, with or without a VM), what the guest wrote last is in its disk, or in an
overlay that is kept and named.  ``SNAPPLAN_KILLS`` sets how many moments are drawn; the campaign takes
all.
"""

import asyncio
import os
import random

import pytest
from attrs import evolve

from planner.delete.before_delete import absent_files, check_beforehand
from planner.delete.delete_checks import Overlays, plan_delete, plan_delete_offline
from planner.delete.delete_run import DeleteRun, forget_manifest
from planner.delete.deleting import DeleteMachine
from planner.errors import Refused
from planner.inspect.verifying import ask_images
from planner.model.image import Image
from planner.parts.part_image import images_of_vm
from planner.run.phases import Phase
from planner.run.pump import Pump, ask_facts
from planner.semantics import execute, guest_step
from planner.semantics.construct import DiskDescription, vm_state
from planner.store.instance import Instance
from planner.store.journaled import begin_run
from planner.store.store import Store
from tests.crash.faulty_vm import Fault
from tests.crash.killed_external import MemoryHost, apply, die, recover, vm_of
from tests.crash.killing import IDENTITY, Killed, Moments, Planned, process
from tests.crash.test_kills_external import noted
from tests.crash.test_random_faults import TAG

KILLS = int(os.environ.get("SNAPPLAN_KILLS", "160"))
OVERLAYS = ("/images/new1.qcow2", "/images/new2.qcow2")
STREAM = "/images/new.state"
CASES = [
    ("7.2", "running", "stopped"),
    ("10.0", "running", "none"),
    ("11.1", "running", "stopped"),
    ("11.1", "paused", "none"),
]
IDS = ["-".join(case) for case in CASES]
TEXT = """tag: {tag}
machine-state: {state}
disks: {{disk0: internal, disk1: {{external: {first}}}, disk2: {{external: {second}}}}}
"""


def saved(case, folder):
    """A VM with a snapshot that is recorded, and whose guest went on."""
    version, run_state, capture = case
    state = "none" if capture == "none" else f"{{external: {STREAM}, capture: {capture}}}"
    text = TEXT.format(tag=TAG, state=state, first=OVERLAYS[0], second=OVERLAYS[1])
    disks = [DiskDescription(f"disk{number}", "qcow2") for number in range(3)]
    design = "transactional" if capture == "none" else "external"
    planned = Planned.of(vm_state(version, disks, run_state=run_state), text, design)
    vm = vm_of(planned)
    with process(vm, Moments()):
        assert asyncio.run(apply(vm, planned, folder)).phase is Phase.DONE
    works(vm)
    return vm


def works(vm):
    """The guest writes, where it runs."""
    for _ in range(3):
        vm._guest_works()
        vm.state = guest_step(vm.state)
    vm.note_content()


def share(folder):
    return Store(folder).vm(IDENTITY)


async def delete(vm, folder):
    """What `snapplan delete --overlays commit` does, on the VM, or without it where it is gone."""
    store, host = share(folder), MemoryHost(vm)
    manifest = store.manifest(TAG)
    absent = await absent_files(manifest, host)
    if vm.state.died:
        images = await _look(vm, manifest)
        order = plan_delete_offline(manifest, images, [], Overlays.COMMIT, absent=absent)
    else:
        vm.armed = False
        await vm.connect(1.0)
        facts = await ask_facts(vm)
        images = images_of_vm(facts, await ask_images(vm))
        order = plan_delete(manifest, facts, images, [], Overlays.COMMIT, absent=absent)
    await check_beforehand(order, host)
    order = evolve(order, manifest_file=str(store.manifest_path(TAG)))
    run = (
        None
        if order.offline
        else begin_run(store, IDENTITY, DeleteRun(order), facts, instance=Instance((1,)))
    )
    vm.armed = True
    recorder = None if run is None else run.recorder()
    machine = DeleteMachine.of(order) if run is None else run.machine
    pump = Pump(machine, vm, images=vm, host=host, clock=vm, recorder=recorder)
    outcome = await pump.run()
    if run is None:
        forget_manifest(order, outcome)
    else:
        run.settle(outcome)
    return outcome


async def _look(vm, manifest):
    found = {}
    for part in manifest.parts:
        if part.disk:
            held = await vm.snapshots(part.file)
            found.setdefault(part.disk, {})[part.file] = Image(part.file, "qcow2", 0, held)
    return found


def run(work, vm, moments):
    """A process of snapplan: how it ended; None where it was killed."""
    try:
        with process(vm, moments):
            return asyncio.run(work)
    except Killed:
        return None
    except Refused as refused:
        return refused


def moments_of(case, folder):
    vm, moments = saved(case, folder), Moments()
    outcome = run(delete(vm, folder), vm, moments)
    assert outcome.phase is Phase.DONE, outcome
    assert vm.files == {}
    assert share(folder).manifest(TAG) is None
    assert vm.state.run_state == case[1]
    assert len({vm.disk_content(disk) == vm.base_content(disk) for disk in ("disk1", "disk2")}) == 1
    return len(moments.seen)


def drawn(length, share_of_all):
    wanted = max(KILLS // share_of_all, 1)
    if wanted >= length:
        return range(length)
    return sorted(random.Random(wanted).sample(range(length), wanted))


def newest(vm):
    """What the guest reads, by disk."""
    return {disk: vm.disk_content(disk) for disk in ("disk1", "disk2")}


def judge(vm, wrote, ends):
    """Each disk holds what the guest wrote last, or an overlay that was named does."""
    named = {
        problem.subject
        for end in ends
        for problem in (end.problems if isinstance(end, Refused) else end.left)
    }
    host = MemoryHost(vm)
    for disk, overlay in zip(("disk1", "disk2"), OVERLAYS, strict=True):
        base = host._content_of(next(f for f in base_files(vm) if disk in f))
        file = vm.files.get(overlay)
        if not vm.state.died:
            assert vm.disk_content(disk) >= wrote[disk], "what the guest wrote is lost"
            continue
        reads = base if file is None or file.content is None else max(base, file.content)
        assert reads == wrote[disk], f"what the guest wrote to {disk} is lost"
        if file is not None:
            assert disk in named, f"{overlay} is kept, and nobody was told"


def base_files(vm):
    return {node.filename for node in vm.state.graph.nodes if node.filename} - set(OVERLAYS)


def both_die(case, moment, folder, by_hand):
    """A kill of the delete; the guest goes on, and QEMU dies; recover, and delete --offline."""
    vm = saved(case, folder)
    assert run(delete(vm, folder), vm, Moments(moment)) is None
    vm.goes_on()
    if by_hand:
        vm.state = execute(vm.state, "cont", {}).state
    works(vm)
    die(vm)
    wrote = newest(vm)
    ends = list(run(recover(vm, folder), vm, Moments()))
    with noted(case, moment, ends):
        assert share(folder).journal_files() == ()
        if share(folder).manifest(TAG) is not None:
            ends.append(run(delete(vm, folder), vm, Moments()))
        judge(vm, wrote, ends)


def snapplan_dies(case, moment, folder):
    """A kill of the delete, which is finished on the same QEMU."""
    vm = saved(case, folder)
    assert run(delete(vm, folder), vm, Moments(moment)) is None
    vm.goes_on()
    works(vm)
    wrote = newest(vm)
    ends = run(recover(vm, folder), vm, Moments())
    with noted(case, moment, ends):
        assert [end.phase for end in ends] in ([], [Phase.DONE])
        if share(folder).manifest(TAG) is not None:  # killed before there was a journal
            assert run(delete(vm, folder), vm, Moments()).phase is Phase.DONE
        assert vm.files == {}
        assert share(folder).manifest(TAG) is None
        assert vm.state.run_state == case[1]
        assert vm.state.jobs == ()
        judge(vm, wrote, ends)


@pytest.mark.parametrize("by_hand", [False, True], ids=["", "continued-by-hand"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_both_die(case, by_hand, tmp_path):
    """At any moment, at once or when the guest has gone on; then recover, then delete --offline."""
    for moment in drawn(moments_of(case, tmp_path / "count"), 30):
        both_die(case, moment, tmp_path / str(moment), by_hand)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_snapplan_dies_and_qemu_lives(case, tmp_path):
    """It is finished on the same QEMU; the guest runs as before, on its own images."""
    for moment in drawn(moments_of(case, tmp_path / "count"), 30):
        snapplan_dies(case, moment, tmp_path / str(moment))


def test_a_killed_recovery_is_recovered(tmp_path):
    """A kill of the delete and one of its recovery; QEMU dies at the first, at the second, or never."""
    dice = random.Random(9)
    lengths = [moments_of(case, tmp_path / f"n{number}") for number, case in enumerate(CASES)]
    for number in range(max(KILLS // 12, 1)):
        which = dice.randrange(len(CASES))
        first, second = dice.randrange(lengths[which]), dice.randrange(60)
        dies_at = dice.choice((0, 1, 2))
        folder = tmp_path / str(number)
        vm = saved(CASES[which], folder)
        run(delete(vm, folder), vm, Moments(first))
        vm.goes_on()
        works(vm)
        ends = []
        if dies_at == 0:
            die(vm)
        wrote = newest(vm)
        ends += run(recover(vm, folder), vm, Moments(second)) or []
        if dies_at == 1 and not vm.state.died:
            vm.goes_on()
            works(vm)
            die(vm)
            wrote = newest(vm)
        ends += run(recover(vm, folder), vm, Moments()) or []
        if share(folder).manifest(TAG) is not None:
            ends.append(run(delete(vm, folder), vm, Moments()))
        try:
            judge(vm, wrote, ends)
        except AssertionError as error:
            error.add_note(f"case {which}, killed at {first} and {second}, QEMU {dies_at}; {ends}")
            raise


FAULTS = ("refuse", "drop-before", "drop-after", "no-reply", "die-before", "die-after")
FAULTY = ("11.1", "running", "none")


def struck(fault, folder):
    """A delete that a fault strikes: the VM, and how it ended."""
    vm = saved(FAULTY, folder)
    vm.faults = [fault] if fault else []
    return vm, run(delete(vm, folder), vm, Moments())


@pytest.mark.sample(3)
@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_at_every_command(kind, tmp_path):
    """The guest runs on, no job is left, nothing is lost; another delete finishes it."""
    commands = len(struck(None, tmp_path / "count")[0].sent)
    for command in range(commands):
        folder = tmp_path / str(command)
        vm, outcome = struck(Fault(kind, command), folder)
        vm.faults = []
        with noted(kind, command, vm.sent[command], outcome):
            done = outcome.phase is Phase.DONE
            assert done or outcome.failure is not None
            if outcome.phase is Phase.UNDONE:
                assert set(vm.files) == set(OVERLAYS), "it says that nothing was done"
            if not vm.state.died:
                refused = vm.sent[command] if kind == "refuse" else ""
                assert vm.state.run_state == "running" or refused == "cont"
                assert vm.state.jobs == () or refused in ("job-dismiss", "job-cancel", "query-jobs")
            vm.state = execute(vm.state, "cont", {}).state if not vm.state.died else vm.state
            works(vm)
            wrote = newest(vm)
            ends = [outcome]
            if not done:
                ends.append(run(delete(vm, folder), vm, Moments()))
            judge(vm, wrote, ends)
