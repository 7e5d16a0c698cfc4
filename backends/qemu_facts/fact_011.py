"""Fact 11: which names a save and an internal snapshot take."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import differs, holds, same
from backends.qemu_facts.lab.topology import DiskKind, two_disks
from backends.qemu_facts.lab.vm import internal


@experiment()
def job_takes_node_names_and_no_drive_ids(target):
    """QEMU's own `#blockNNN` names work in the job; `-drive` and qdev ids do not."""
    vm = target.start(two_disks(DiskKind.DRIVE))
    node = vm.node_of("disk1")
    holds(node.startswith("#block"))
    differs(vm.save("a", ["disk0", "disk1"]), None)
    differs(vm.save("a", ["disk0", "disk0-device"]), None)
    same(vm.save("a", ["disk0", node]), None)
    same(vm.tags(node), ["a"])


@experiment()
def filter_passes_to_its_child(target):
    """A filter named in the job snapshots its child; with both named it is done twice."""
    vm = target.start(two_disks(DiskKind.FILTERED))
    same(vm.save("once", ["disk0", "disk1"]), None)
    same(vm.tags("disk1-format"), ["once"])
    same(vm.save("both", ["disk0", "disk1", "disk1-format"]), None)
    same(vm.tags("disk1-format"), ["once", "both", "both"])


@experiment()
def internal_sync_takes_drive_ids_and_root_nodes(target):
    """A `-drive` id, its root node and a named root node all work; qdev ids do not."""
    vm = target.start(two_disks(DiskKind.DRIVE))
    vm.snapshot_disks("a", "disk0", "disk1")
    vm.snapshot_disks("b", vm.node_of("disk1"))
    same(vm.tags(vm.node_of("disk1")), ["a", "b"])
    holds(vm.refused_transaction(internal("disk0-device", "c")))


@experiment()
def internal_sync_refuses_the_node_under_a_filter(target):
    """The child of a filter is no root node."""
    vm = target.start(two_disks(DiskKind.FILTERED))
    words = vm.refused_transaction(internal("disk1-format", "a"))
    same(words, "Need a root block node")


if __name__ == "__main__":
    run_by_hand(globals())
