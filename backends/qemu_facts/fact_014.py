"""Fact 14: overlays and internal snapshots in one transaction."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.topology import DiskKind, two_disks
from backends.qemu_facts.lab.vm import internal, overlay


@experiment()
def overlay_and_internal_snapshot_in_one_transaction(target):
    """A raw disk gets an overlay in the transaction that snapshots the others."""
    vm = target.start(two_disks(DiskKind.QCOW2, DiskKind.RAW))
    vm.add_overlay("over")
    vm.execute("stop")
    same(vm.save("a", ["disk0"]), None)
    vm.transaction(internal("disk1", "a"), overlay("disk2", "over"))
    vm.execute("cont")
    holds(vm.tags("disk0") == vm.tags("disk1") == ["a"])
    holds(vm.node_of("over") == "over", "the device of disk2 is on its overlay")


@experiment()
def failing_action_takes_the_overlay_back(target):
    """A transaction that fails at its end leaves neither snapshot nor overlay."""
    vm = target.start(two_disks(DiskKind.QCOW2, DiskKind.RAW))
    vm.add_overlay("over")
    holds(vm.refused_transaction(internal("disk1", "a"), overlay("disk2", "over"), ("abort", {})))
    same(vm.tags("disk1"), [])
    same(vm.node_of("disk2"), "disk2")
    vm.transaction(internal("disk1", "a"), overlay("disk2", "over"))


if __name__ == "__main__":
    run_by_hand(globals())
