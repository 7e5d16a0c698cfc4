"""Fact 12: a write error in the machine state leaves no snapshot."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.topology import DiskKind, DiskSpec, Topology
from backends.qemu_facts.steps.saving import FAILING_VMSTATE


@experiment()
def write_error_in_the_vmstate_leaves_no_snapshot(qemu):
    """The job fails, the guest goes on, nothing is left but leaked clusters."""
    faulty = DiskSpec("disk0", DiskKind.FAULTY, inject_error=(FAILING_VMSTATE,))
    vm = qemu.start(Topology(disks=(faulty, DiskSpec("disk1")), guest=True))
    vm.wait_guest(1)
    words = vm.save("a", ["disk0", "disk1"])
    holds(words.endswith("Input/output error"), "whose words it is differs between versions")
    same(vm.status(), "running")
    holds(vm.tags("disk0") == vm.tags("disk1") == [])
    failed_at = len(vm.console())
    vm.wait_guest(2, since=failed_at)
    vm.end()
    same(vm.check_image("disk0")["corruptions"], 0)
    holds(vm.image_tags("disk0") == vm.image_tags("disk1") == [])


if __name__ == "__main__":
    run_by_hand(globals())
