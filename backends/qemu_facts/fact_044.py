"""Fact 44: filters can be snapshotted by their own name."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.topology import DiskKind, two_disks
from backends.qemu_facts.lab.vm import internal


@experiment()
def internal_sync_takes_a_filter_that_is_the_root(target):
    """Taken and deleted through the filter, the snapshot shows at the filter and at its child."""
    vm = target.start(two_disks(DiskKind.FILTERED))
    vm.transaction(internal("disk1", "a"))
    same(vm.snapshots("disk1"), vm.snapshots("disk1-format"))
    (taken,) = vm.snapshots("disk1")
    vm.execute(
        "blockdev-snapshot-delete-internal-sync", device="disk1", id=taken.id, name=taken.tag
    )
    holds(vm.snapshots("disk1") == vm.snapshots("disk1-format") == [])


@experiment()
def filter_can_be_the_vmstate_node(target):
    """The vmstate goes to the filter's child; a job that lists one and names the other fails."""
    vm = target.start(two_disks(DiskKind.FILTERED))
    same(vm.save("a", ["disk1", "disk0"], "disk1"), None)
    holds(vm.snapshots("disk1-format")[0].vm_state_size > 0)
    words = vm.save("b", ["disk1", "disk0"], "disk1-format")
    same(words, "vmstate block device 'disk1-format' does not exist")


if __name__ == "__main__":
    run_by_hand(globals())
