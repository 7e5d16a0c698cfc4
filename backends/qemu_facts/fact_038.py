"""Fact 38: a save to a slow disk ends well."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import DiskKind, two_disks


@experiment()
def save_to_a_slow_disk_ends_all_the_same(target):
    """A slow disk makes a save long, and QMP silent meanwhile; it is no failure."""
    vm = target.start(two_disks(DiskKind.FILTERED, throttle_bps=2 * 2**20))
    same(vm.save("a", ["disk0", "disk1"], "disk1"), None)
    same(vm.tags("disk1-format"), ["a"])


if __name__ == "__main__":
    run_by_hand(globals())
