"""However many snapshots and disks: each image is looked at once, and the work is linear in them."""

import asyncio

import pytest
from attrs import evolve

from planner.collect.unneeded import OrphanKind, find_orphans
from planner.delete.delete_checks import needed_problems, plan_delete
from planner.delete.deleting import DELETION, DeleteMachine
from planner.inspect.verifying import verify_images
from planner.model.image import Image
from planner.parts.holdings import holdings
from planner.parts.part_image import images_of_vm
from planner.run.outcome import Outcome
from planner.run.phases import Phase
from planner.store.store import Store
from planner.verbs.collect import look_for_garbage
from planner.verbs.context import Offline
from tests.unit.build import facts, held, qcow2
from tests.unit.fake_vm import LATE, FakeVm, Strike, named_images
from tests.unit.snapshots import TAG, manifest, part, snapshot_on
from tests.unit.test_linear import AT_MOST, FEW, TIMES, bytecodes


class Counted:
    """Image files of which every look is counted."""

    def __init__(self, snapshots):
        self.snapshots = snapshots
        self.looks = []

    async def look(self, filename, image_format):
        del image_format
        self.looks.append(filename)
        return Image(filename, "qcow2", 1, self.snapshots)


def many(count):
    """A VM of two disks with so many snapshots, and the manifest of each."""
    tags = [f"t{number}" for number in range(count)]
    snapshots = tuple(held(tag, str(n), vm_clock_ns=7) for n, tag in enumerate(tags, start=1))
    vm = facts(qcow2("disk0", snapshots=snapshots), qcow2("disk1", snapshots=snapshots))
    whole = manifest()
    first = evolve(whole.parts[0], vm_clock_ns=7, vm_state_size_bytes=0)
    made = [
        evolve(
            whole,
            tag=tag,
            parts=tuple(
                evolve(
                    first,
                    disk=disk.name,
                    file=disk.filename,
                    snapshot_id=str(number),
                    virtual_size_bytes=disk.virtual_size_bytes,
                )
                for disk in vm.disks
            ),
        )
        for number, tag in enumerate(tags, start=1)
    ]
    return vm, made


def test_gc_looks_at_each_image_once(tmp_path):
    """Two images, a hundred manifests: two looks, and each whole snapshot is no garbage."""
    vm, made = many(100)
    (tmp_path / "key").mkdir()
    (share,) = Store(tmp_path).vms()
    for each in made:
        share.write(each)
    images = Counted(vm.disks[0].snapshots)
    found = asyncio.run(look_for_garbage(Offline(Store(tmp_path), images, None)))
    assert sorted(images.looks) == sorted(disk.filename for disk in vm.disks)
    assert found.orphans == ()
    empty = Counted(())
    found = asyncio.run(look_for_garbage(Offline(Store(tmp_path), empty, None)))
    assert [each.kind for each in found.orphans] == [OrphanKind.MANIFEST_EMPTY] * 100
    assert len(empty.looks) == 2


def compared(count):
    """What is done with all manifests of a VM: collected, listed, verified, and one deleted."""
    vm, made = many(count)

    def work():
        images = images_of_vm(vm, {})
        assert find_orphans(made, images, {}, vm) == ()
        findings = {each.tag: verify_images(each, vm, images, {}) for each in made}
        listed = holdings(made, vm, below={}, findings=findings)
        assert {each.standing for each in listed} == {"complete"}
        assert list(needed_problems(made[0], made)) == []

    return work


def test_manifests_are_compared_with_images_in_linear_time():
    """Ten times the snapshots are ten times the work."""
    assert bytecodes(compared(FEW * TIMES)) / bytecodes(compared(FEW)) < AT_MOST


def deleted(count, *strikes, told=None):
    """A delete of a snapshot on so many disks: the VM, and how it ended."""
    before = named_images(facts(*(snapshot_on(f"disk{number}") for number in range(count))))
    recorded = manifest(before, parts=tuple(part(disk) for disk in before.disks))
    machine = DeleteMachine.of(plan_delete(recorded, before, images_of_vm(before, {}), [recorded]))
    vm = FakeVm.of(before, *strikes)
    action = machine.start()
    while not isinstance(action, Outcome):
        response = vm.answer(action)
        if told is not None and getattr(action, "command", "") == DELETION:
            response = evolve(response, value=told)
        action = machine.tell(response, vm.take_events())
    return vm, action


def test_a_delete_asks_once_what_all_disks_hold():
    """Fifty disks: one look, and a deletion each."""
    vm, outcome = deleted(50)
    assert outcome.phase is Phase.DONE
    assert vm.sent.count(DELETION) == 50
    assert vm.sent.count("query-named-block-nodes") == 1
    assert all(TAG not in {each.name for each in held_now} for held_now in vm.nodes.values())


@pytest.mark.parametrize("done", [True, False])
def test_a_deletion_without_an_answer_is_looked_at(done):
    """What was seen before is not believed any more; it is sent again only where it was not done."""
    vm, outcome = deleted(50, Strike(DELETION, LATE, 3, done=done))
    assert outcome.phase is Phase.DONE
    assert vm.sent.count(DELETION) == (50 if done else 51)
    assert vm.sent.count("query-named-block-nodes") == 2


@pytest.mark.parametrize("theirs", [5, 7])
def test_qemu_tells_whose_snapshot_it_deleted(theirs):
    """Another client's of the same id and tag, made since: that is said, and nothing more deleted."""
    vm, outcome = deleted(3, told={"vm-clock-sec": 0, "vm-clock-nsec": theirs})
    assert (outcome.failure is None) is (theirs == 7)
    assert vm.sent.count(DELETION) == (3 if theirs == 7 else 1)
