"""Fact 151: a device that is plugged or unplugged between a save and its load."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.topology import two_disks

DISKS = ["disk0", "disk1"]
USB = ("-device", "qemu-xhci,id=usb")


def plugged(vm):
    """The devices that have an id."""
    return {each["name"] for each in vm.execute("qom-list", path="/machine/peripheral")}


@experiment()
def one_that_came_after_the_save_stays(qemu):
    """The load succeeds, and the guest goes on with a device that it does not know of."""
    vm = qemu.start(two_disks())
    same(vm.save("t", DISKS), None)
    vm.execute("device_add", {"driver": "virtio-rng-pci", "id": "rng"})
    same((vm.load("t", DISKS), vm.status()), (None, "running"))
    holds("rng" in plugged(vm), "it is there after the load")


@experiment()
def one_that_went_after_the_save_fails_the_load(qemu):
    """When the disks are reverted already; the guest stands, and `cont` is taken."""
    vm = qemu.start(two_disks(extra_args=USB))
    vm.execute("device_add", {"driver": "usb-tablet", "id": "tablet", "bus": "usb.0"})
    same(vm.save("t", DISKS), None)
    vm.execute("block_resize", {"node-name": "disk1", "size": 2**24})
    vm.execute("device_del", id="tablet")
    vm.wait_until(lambda: "tablet" not in plugged(vm), "the end of the device")
    error = vm.load("t", DISKS)
    start = "Error -22 while loading VM state" if vm.version < (11, 0) else "Unknown section"
    same(error[: len(start)], start)
    same(vm.status(), "restore-vm")
    same(vm.nodes()["disk1"]["image"]["virtual-size"], 8 * 2**20)  # it was reverted
    vm.execute("cont")
    same(vm.status(), "running")


@experiment()
def a_request_to_go_is_the_guest_s_to_grant(qemu):
    """`device_del` of a PCI device returns at once; a guest that does not answer keeps it."""
    vm = qemu.start(two_disks())
    vm.execute("device_add", {"driver": "virtio-rng-pci", "id": "rng"})
    same(vm.execute("device_del", id="rng"), {})
    holds("rng" in plugged(vm), "it is still there")
    same(vm.refusal("device_del", id="nope"), "Device 'nope' not found")


if __name__ == "__main__":
    run_by_hand(globals())
