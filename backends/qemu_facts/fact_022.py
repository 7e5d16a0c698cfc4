"""Fact 22: what a deletion takes."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import found, same
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def delete_of_a_tag_that_is_nowhere_succeeds(target):
    """snapshot-delete does not mind that there is nothing to delete."""
    vm = target.start(two_disks())
    same(vm.delete("nothing", ["disk0", "disk1"]), None)


@experiment()
def delete_removes_one_of_two_per_call(target):
    """Of two snapshots of one tag each snapshot-delete takes one away, the first first."""
    vm = target.start(two_disks())
    same(vm.save("a", ["disk0", "disk0"]), None)
    (_first, second) = vm.snapshots("disk0")
    same(vm.delete("a", ["disk0"]), None)
    same(vm.snapshots("disk0"), [second])
    same(vm.delete("a", ["disk0"]), None)
    same(vm.snapshots("disk0"), [])


@experiment()
def blockdev_delete_takes_exactly_the_one_of_id_and_name(target):
    """With id and name given one snapshot is deleted, and QEMU says which."""
    vm = target.start(two_disks())
    same(vm.save("a", ["disk0", "disk0"]), None)
    (first, second) = vm.snapshots("disk0")
    deleted = vm.execute(
        "blockdev-snapshot-delete-internal-sync", device="disk0", id=second.id, name="a"
    )
    same((deleted["id"], deleted["name"]), (second.id, "a"))
    same(vm.snapshots("disk0"), [first])
    words = vm.refusal(
        "blockdev-snapshot-delete-internal-sync", device="disk0", id=first.id, name="b"
    )
    found("does not exist on device", words)
    same(vm.snapshots("disk0"), [first])


if __name__ == "__main__":
    run_by_hand(globals())
