"""A load whose machine state has a node of its own: whatever strikes, the node is gone afterwards."""

import asyncio

import pytest
from attrs import define, evolve

from planner.load.ended_guest import Wanted
from planner.load.load_checks import plan_load
from planner.load.loading import LoadMachine
from planner.load.vmstate_node import sets_of
from planner.model.image import Image
from planner.model.request import RunStateAfter
from planner.parts.vmstate_image import VmstateImage
from planner.run.phases import Phase
from planner.run.ports import HostRefused
from planner.run.pump import Pump
from planner.semantics import guest_step
from planner.semantics.construct import DiskDescription, vm_state
from tests.crash import machines
from tests.crash.faulty_vm import Fault, FaultyVm
from tests.crash.machines import TAG, Run, act, manifest_of, survey
from tests.crash.test_load_faults import contents, judge

IMAGE = "/images/new.vmstate.qcow2"
NODE = "vmstate0"
KINDS = ("refuse", "micro-step", "drop-before", "drop-after", "no-reply", "die-before", "die-after")


class Vm(FaultyVm):
    """The VM, which takes descriptors."""

    async def execute_with_descriptor(self, command, arguments, descriptor, timeout_s):
        assert descriptor
        return await self.execute(command, arguments, timeout_s)


@define
class Host:
    """The host: the image is there, or cannot be opened."""

    refuses: bool = False

    async def do(self, instruction, arguments, timeout_s):
        del arguments, timeout_s
        if self.refuses and instruction == "open-vmstate-image":
            raise HostRefused("file-unwritable", "the test refuses it")
        return {}

    def descriptor(self, temporary):
        del temporary
        return 7


def saved(run_state="running", version="7.2"):
    """A VM that was saved with its machine state on a node of its own; and what a load is to do."""
    vm = Vm(vm_state(version, [DiskDescription("disk0"), DiskDescription("disk1")]), TAG)
    number = sets_of(IMAGE)[0]
    act(vm, "add-fd", {"fdset-id": number})
    file = {"driver": "file", "filename": f"/dev/fdset/{number}"}
    act(vm, "blockdev-add", {"driver": "qcow2", "node-name": NODE, "file": file})
    act(vm, "stop", {})
    save = {"job-id": "j", "tag": TAG, "devices": [NODE], "vmstate": NODE}
    act(vm, "snapshot-save", save)
    act(vm, "job-dismiss", {"id": "j"})
    actions = [
        {"type": "blockdev-snapshot-internal-sync", "data": {"device": disk, "name": TAG}}
        for disk in ("disk0", "disk1")
    ]
    act(vm, "transaction", {"actions": actions})
    held = vm.state.graph.node(NODE).layer.snapshots
    act(vm, "blockdev-del", {"node-name": NODE})
    act(vm, "remove-fd", {"fdset-id": number})
    act(vm, "cont", {})
    for _ in range(6):
        vm.state = guest_step(vm._ticked())
    if run_state == "paused":
        act(vm, "stop", {})
    return vm, held[0]


async def order_of(vm, held, after):
    manifest = await manifest_of(vm, ["disk0", "disk1"])
    own = VmstateImage(
        file=IMAGE,
        format="qcow2",
        snapshot_id=held.id,
        vm_clock_ns=held.vm_clock_ns,
        vm_state_size_bytes=held.vm_state_size_bytes,
    )
    facts, images = await survey(vm)
    info = next(s for d in facts.disks for s in d.snapshots)
    info = evolve(info, id=held.id, vm_state_size_bytes=held.vm_state_size_bytes)
    beside = {"": {IMAGE: Image(IMAGE, "qcow2", 0, (info,), active=False)}}
    manifest = evolve(manifest, parts=(*manifest.parts, own))
    return plan_load(manifest, facts, {**images, **beside}, Wanted(after))


def run(monkeypatch, before, fault=None, host=None, **kill):
    vm, held = saved(before)
    after = RunStateAfter.RUNNING if before == "running" else RunStateAfter.PAUSED
    order = asyncio.run(order_of(vm, held, after))
    assert all(content != old for content, old in contents(vm, order).values())
    vm.faults = [fault] if fault else []
    there = host or Host()
    monkeypatch.setattr(machines, "Pump", lambda *a, **k: Pump(*a, **k, host=there))
    done = Run(lambda: LoadMachine.of(order), vm, **kill)
    outcome = done.end()
    judge(vm, order, outcome)
    if not vm.state.died and outcome.phase in (Phase.DONE, Phase.UNDONE):
        assert order.image.node not in {node.name for node in vm.state.graph.nodes}
        assert vm.state.fdsets == ()
    return done, outcome


@pytest.mark.parametrize("before", ["running", "paused"])
def test_it_is_loaded_twice_from_the_same_image(monkeypatch, before):
    """One load reverts the disks and reads the node; the image holds what it held."""
    done, outcome = run(monkeypatch, before)
    assert outcome.phase is Phase.DONE, outcome
    sent = done.vm.sent
    assert sent.index("blockdev-add") < sent.index("snapshot-load") < sent.index("blockdev-del")
    if before == "running":
        assert sent.index("blockdev-add") < sent.index("stop")
    stored = dict(done.vm.state.images)
    assert [s.name for s in stored[f"/dev/fdset/{sets_of(IMAGE)[0]}"].snapshots] == [TAG]


@pytest.mark.parametrize("before", ["running", "paused"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_single_fault_at_every_command(monkeypatch, kind, before):
    """Undone, or said to be otherwise; where it is done or undone, neither node nor set is left."""
    commands = len(run(monkeypatch, before)[0].vm.sent)
    for command in range(commands + 2):
        for place in range(8 if kind == "micro-step" else 1):
            run(monkeypatch, before, Fault(kind, command, place))


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_snapplan_killed_at_every_action(monkeypatch, done):
    """What goes on takes the node out, too."""
    actions = len(run(monkeypatch, "running")[0].asked)
    for number in range(actions):
        _, outcome = run(monkeypatch, "running", kill_at=number, done=done)
        assert outcome.phase in (Phase.DONE, Phase.UNDONE), (number, outcome)


def test_an_image_that_cannot_be_opened_stops_nothing(monkeypatch):
    """The guest is not even stopped."""
    done, outcome = run(monkeypatch, "running", host=Host(refuses=True))
    assert (outcome.phase, outcome.failure.code) == (Phase.UNDONE, "file-unwritable")
    assert "stop" not in done.vm.sent
