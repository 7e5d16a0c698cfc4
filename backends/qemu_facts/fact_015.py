"""Fact 15: the clock of the VM tells what belongs together."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def parts_of_one_pause_have_one_vm_clock(target):
    """The clock stands while the VM is stopped, so its value tells what belongs together."""
    vm = target.start(two_disks())
    vm.execute("stop")
    same(vm.save("a", ["disk0"]), None)
    vm.snapshot_disks("a", "disk1")
    vm.execute("cont")
    same(vm.save("b", ["disk0", "disk1"]), None)
    first_a, first_b = vm.snapshots("disk0")
    second_a, second_b = vm.snapshots("disk1")
    same(first_a.vm_clock_ns, second_a.vm_clock_ns)
    same(first_b.vm_clock_ns, second_b.vm_clock_ns)
    holds(first_a.vm_clock_ns < first_b.vm_clock_ns)


@experiment()
def vm_state_size_is_0_without_machine_state(target):
    """Only the vmstate node's part has a size."""
    vm = target.start(two_disks())
    same(vm.save("a", ["disk0", "disk1"], "disk1"), None)
    same(vm.snapshots("disk0")[0].vm_state_size, 0)
    holds(vm.snapshots("disk1")[0].vm_state_size > 0)


if __name__ == "__main__":
    run_by_hand(globals())
