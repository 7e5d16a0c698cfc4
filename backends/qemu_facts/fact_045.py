"""Fact 45: a load by the name of a throttle filter ends QEMU."""

import signal

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import defect, found, same
from backends.qemu_facts.lab.topology import DiskKind, two_disks


@experiment(since=(10, 0))
def load_through_a_throttle_filter_aborts_qemu(qemu):
    """From 10 on snapshot-load of a throttle node, saved without a complaint, ends QEMU."""
    vm = qemu.start(two_disks(DiskKind.FILTERED))
    same(vm.save("a", ["disk0", "disk1"]), None)
    death = vm.death_in(lambda: vm.load("a", ["disk0", "disk1"]))
    defect(death, known=-signal.SIGABRT, right=None)
    found("throttle_drain_end: Assertion", vm.stderr())


@experiment(before=(10, 0))
def load_through_a_throttle_filter_works(target):
    """In 7.2 it loads."""
    vm = target.start(two_disks(DiskKind.FILTERED))
    same(vm.save("a", ["disk0", "disk1"]), None)
    same(vm.load("a", ["disk0", "disk1"]), None)


@experiment()
def load_of_the_node_under_the_filter_works(target):
    """Whoever names the child is safe, even if the filter was named when it was saved."""
    vm = target.start(two_disks(DiskKind.FILTERED))
    same(vm.save("a", ["disk0", "disk1"]), None)
    same(vm.load("a", ["disk0", "disk1-format"]), None)
    same(vm.status(), "running")


if __name__ == "__main__":
    run_by_hand(globals())
