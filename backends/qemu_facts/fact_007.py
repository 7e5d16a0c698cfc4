"""Fact 7: a failed save deletes the older snapshot of its tag."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import defect, differs, holds, same
from backends.qemu_facts.lab.topology import DiskKind, two_disks


@experiment()
def tag_on_some_disks_is_saved_twice(target):
    """The tag check passes unless every disk has the tag: those that have it, have it twice."""
    vm = target.start(two_disks())
    same(vm.save("a", ["disk0"]), None)
    same(vm.save("a", ["disk0", "disk1"]), None)
    same(vm.tags("disk0"), ["a", "a"])
    same(vm.tags("disk1"), ["a"])
    differs(vm.save("a", ["disk0", "disk1"]), None)


@experiment()
def failed_save_destroys_the_older_snapshot_of_the_tag(target):
    """The clean-up after a failure deletes the first of that name: the old one, not its own."""
    vm = target.start(two_disks(DiskKind.QCOW2, DiskKind.DATA_FILE))
    same(vm.save("a", ["disk0"]), None)
    (old,) = vm.snapshots("disk0")
    differs(vm.save("a", ["disk0", "disk1", "disk2"]), None)
    (left,) = vm.snapshots("disk0")
    same(left.tag, "a")
    defect(left.id == old.id, known=False, right=True)
    holds(left.vm_clock_ns > old.vm_clock_ns)


if __name__ == "__main__":
    run_by_hand(globals())
