"""Fact 19: a load looks at the tag alone."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def disk_with_the_tag_of_another_time_is_taken(target):
    """Load looks at the tag alone; the clocks would have told that the parts do not match."""
    vm = target.start(two_disks())
    same(vm.save("a", ["disk0"]), None)
    vm.snapshot_disks("a", "disk1")
    holds(vm.snapshots("disk0")[0].vm_clock_ns < vm.snapshots("disk1")[0].vm_clock_ns)
    same(vm.load("a", ["disk0", "disk1"]), None)


@experiment()
def omitted_disk_is_not_noticed(target):
    """Load restores the nodes that are listed and says nothing of the others."""
    vm = target.start(two_disks())
    same(vm.save("a", ["disk0", "disk1"]), None)
    same(vm.load("a", ["disk0"]), None)
    same(vm.status(), "running")


if __name__ == "__main__":
    run_by_hand(globals())
