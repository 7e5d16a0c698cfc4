"""Fact 17: where the machine state of a save lies."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import differs, holds, same
from backends.qemu_facts.lab.topology import DiskKind, two_disks


@experiment()
def save_leaves_no_vmstate_in_the_active_layer(qemu):
    """After a success only the snapshot holds the vmstate: deleting it gives all of it back."""
    vm = qemu.start(two_disks())
    same(vm.save("a", ["disk0"]), None)
    same(vm.delete("a", ["disk0"]), None)
    vm.end()
    same(vm.check_image("disk0"), {"corruptions": 0, "leaks": 0})
    holds(vm.allocated_bytes("disk0") < vm_state_bytes())


@experiment()
def failed_save_leaves_its_vmstate_in_the_active_layer(qemu):
    """After a failure nobody discards it: it stays until the next save."""
    vm = qemu.start(two_disks(DiskKind.DATA_FILE))
    differs(vm.save("a", ["disk1", "disk0"], "disk0"), None)
    same(vm.tags("disk0"), [])
    vm.end()
    same(vm.check_image("disk0"), {"corruptions": 0, "leaks": 0})
    holds(vm.allocated_bytes("disk0") > vm_state_bytes())


def vm_state_bytes():
    """Less than any vmstate of the usual VM, and more than an empty image's metadata."""
    return 5 * 65536


if __name__ == "__main__":
    run_by_hand(globals())
