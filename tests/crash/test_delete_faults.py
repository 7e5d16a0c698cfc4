"""Whatever strikes a delete, only the snapshot's own parts go, and another delete finishes it."""

import asyncio

import pytest

from planner.delete.delete_checks import plan_delete, plan_delete_offline
from planner.delete.deleting import DeleteMachine
from planner.inspect.offline import images_of_files
from planner.model.image import Image
from planner.run.phases import Phase
from tests.crash.faulty_vm import FAULTS, Fault
from tests.crash.machines import TAG, Killed, Run, act, image_node, make_vm, some, survey

KINDS = ("qcow2", "throttle", "drive")


def prepared(version="7.2"):
    """A VM with the snapshot, another one before it and one after."""
    vm, manifest = make_vm(KINDS, "running", version)
    for disk in ("disk0", "disk1", "disk2"):
        act(vm, "blockdev-snapshot-internal-sync", {"device": disk, "name": "later"})
    return vm, manifest


def held(vm, manifest, tag):
    """By disk, the snapshots of a tag, as (id, content)."""
    return {
        part.disk: [
            (s.id, s.content) for s in image_node(vm, part.disk).layer.snapshots if s.name == tag
        ]
        for part in manifest.parts
    }


def delete(vm, manifest, **kill):
    facts, images = asyncio.run(survey(vm))
    order = plan_delete(manifest, facts, images, [])
    run = Run(lambda: DeleteMachine.of(order), vm, **kill)
    return run, run.end()


def judge(vm, manifest, outcome, others):
    assert held(vm, manifest, "later") == others, "another snapshot was touched"
    own = held(vm, manifest, TAG)
    foreign = {node for node, _ in vm.foreign}
    left = {d for d, found in own.items() if found and image_node(vm, d).name not in foreign}
    if outcome.phase is Phase.DONE:
        assert left == set()
    else:
        assert outcome.failure is not None
        assert left <= {problem.subject for problem in outcome.left}, "left, and not accounted for"
    if outcome.phase is Phase.UNDONE:
        assert outcome.deleted == ()
    for disk in outcome.deleted:
        assert disk not in left


def again(vm, manifest, others):
    """What a user does next: delete it again, on a VM without faults, or without a VM."""
    vm.faults, vm.linked, vm.stuck = [], True, False
    vm.armed = False
    vm.events.clear()
    if vm.state.died:
        images, problems = asyncio.run(images_of_files(manifest, Files(vm)))
        assert problems == ()
        order = plan_delete_offline(manifest, images, [])
        outcome = Run(lambda: DeleteMachine.of(order), vm).end()
    else:
        _, outcome = delete(vm, manifest)
    assert outcome.phase is Phase.DONE, outcome
    judge(vm, manifest, outcome, others)


class Files:
    """The images of a VM that is gone, as `planner.inspect.offline` looks at them."""

    def __init__(self, vm):
        self.vm = vm

    async def look(self, filename, image_format):
        del image_format
        return Image(filename, "qcow2", 0, await self.vm.snapshots(filename))


def strike(fault=None, **kill):
    vm, manifest = prepared()
    others = held(vm, manifest, "later")
    vm.faults = [fault] if fault else []
    run, outcome = delete(vm, manifest, **kill)
    judge(vm, manifest, outcome, others)
    if not vm.foreign:
        again(vm, manifest, others)
    return run, outcome


@pytest.mark.parametrize("version", ["7.2", "10.0", "11.1"])
def test_without_a_fault_all_parts_go(version):
    """Every part goes, the machine state's first, and no other snapshot."""
    vm, manifest = prepared(version)
    others = held(vm, manifest, "later")
    run, outcome = delete(vm, manifest)
    assert outcome.phase is Phase.DONE
    assert outcome.deleted[0] == "disk0"
    assert held(vm, manifest, TAG) == {"disk0": [], "disk1-format": [], "disk2": []}
    judge(vm, manifest, outcome, others)
    assert run.vm.sent.count("blockdev-snapshot-delete-internal-sync") == 3


@pytest.mark.parametrize("kind", FAULTS)
def test_every_single_fault_at_every_command(kind):
    """Each fault at each command: only its own parts go, and the next delete finishes it."""
    commands = len(strike()[0].vm.sent)
    for command in range(commands + 1):
        for place in range(3 if kind in ("micro-step", "die-inside") else 1):
            for disk in ("disk0", "disk2") if kind == "foreign-tag" else ("disk0",):
                strike(Fault(kind, command, place, disk))


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_snapplan_killed_at_every_action(done):
    """Killed at any action, it is finished by what goes on from there."""
    actions = len(strike()[0].asked)
    for number in range(actions):
        _, outcome = strike(kill_at=number, done=done)
        assert outcome.phase is Phase.DONE


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_snapplan_killed_and_not_gone_on_with(done):
    """Killed at any action and forgotten: another delete of the same manifest finishes it."""
    actions = len(strike()[0].asked)
    for number in range(actions):
        vm, manifest = prepared()
        others = held(vm, manifest, "later")
        with pytest.raises(Killed):
            delete(vm, manifest, kill_at=number, done=done, dies=True)
        again(vm, manifest, others)


def test_killed_and_a_fault_beside():
    """Killed at an action of a run that a fault at any command has met."""
    for kind in ("refuse", "drop-before", "drop-after", "no-reply", "die-before", "die-after"):
        for command in range(len(strike()[0].vm.sent)):
            fault = Fault(kind, command)
            for number in some(len(strike(fault)[0].asked)):
                for done in (False, True):
                    strike(fault, kill_at=number, done=done)
