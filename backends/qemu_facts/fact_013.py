"""Fact 13: a save in small steps loads as one."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import DiskKind, two_disks


@experiment()
def desugared_save_loads_as_one(qemu):
    """stop, the job on the vmstate node, a transaction, cont: one job loads it, and it is whole."""
    vm = qemu.start(two_disks(DiskKind.QCOW2, DiskKind.FILTERED, guest=True))
    vm.wait_guest(1)
    vm.execute("stop")
    same(vm.save("a", ["disk0"]), None)
    vm.snapshot_disks("a", "disk1", "disk2")
    vm.execute("cont")
    vm.wait_guest(3)

    vm.execute("stop")
    loaded_at = len(vm.console())
    same(vm.load("a", ["disk0", "disk1", "disk2-format"]), None)
    vm.execute("cont")
    vm.wait_guest(3, since=loaded_at)
    vm.end()
    for disk in ("disk0", "disk1", "disk2"):
        same(vm.image_tags(disk), ["a"])
        same(vm.check_image(disk), {"corruptions": 0, "leaks": 0})


if __name__ == "__main__":
    run_by_hand(globals())
