"""Fact 92: a descriptor set of a VM that stands."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.steps.vmstate_node import IMAGE_SET, new_image


@experiment()
def a_set_of_a_vm_that_stands(qemu):
    """Before 8 it is listed until the guest runs, though it was taken back; from 10 on it is gone."""
    vm = qemu.start(two_disks(paused=True))
    new_image(vm)
    vm.execute("remove-fd", {"fdset-id": IMAGE_SET})
    listed = [each["fdset-id"] for each in vm.execute("query-fdsets")]
    same(listed, [IMAGE_SET] if vm.version < (8, 0) else [])


if __name__ == "__main__":
    run_by_hand(globals())
