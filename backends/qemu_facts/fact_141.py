"""Fact 141: a filter shows the old size of an image that was resized under it."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import DiskKind, two_disks

MIB = 2**20


def sizes(vm):
    """Of the filter, and of the image under it."""
    shown = vm.nodes()
    return tuple(shown[name]["image"]["virtual-size"] // MIB for name in ("disk1", "disk1-format"))


def start(target):
    vm = target.start(two_disks(DiskKind.FILTERED))
    vm.execute("stop")
    return vm


def follows(vm):
    return vm.version >= (11, 0)


@experiment()
def named_by_its_image(target):
    """The filter stays as it was, or follows."""
    vm = start(target)
    vm.execute("block_resize", {"node-name": "disk1-format", "size": 16 * MIB})
    same(sizes(vm), (16 if follows(vm) else 8, 16))
    vm.execute("block_resize", {"node-name": "disk1", "size": 4 * MIB})
    same(sizes(vm), (4, 4))


@experiment()
def a_load_that_puts_another_size_back(target):
    """The same: a load names the node under the filter."""
    vm = start(target)
    same(vm.save("t", ["disk0", "disk1-format"]), None)
    vm.execute("block_resize", {"node-name": "disk1", "size": 4 * MIB})
    same(vm.load("t", ["disk0", "disk1-format"]), None)
    same(sizes(vm), (8 if follows(vm) else 4, 8))


if __name__ == "__main__":
    run_by_hand(globals())
