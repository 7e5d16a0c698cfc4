"""Migration settings that were left on."""

from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import two_disks

BOTH = ["disk0", "disk1"]


def saved(target):
    """A VM that holds a snapshot."""
    vm = target.start(two_disks())
    same(vm.save("a", BOTH), None)
    return vm
