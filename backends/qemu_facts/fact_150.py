"""Fact 150: `block_resize`, and a load that puts the old size back."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import DiskKind, two_disks

MIB = 2**20


def sizes(vm, *nodes):
    """How large these are."""
    shown = vm.nodes()
    return tuple(shown[name]["image"]["virtual-size"] // MIB for name in nodes)


@experiment()
@cases("command", ["job", "loadvm"])
def a_load_puts_the_size_back(target, command):
    """Whether it was made larger or smaller, and with no word about it."""
    vm = target.start(two_disks())
    same(vm.save("t", ["disk0", "disk1"]), None)
    vm.execute("block_resize", {"node-name": "disk0", "size": 16 * MIB})
    vm.execute("block_resize", {"node-name": "disk1", "size": 4 * MIB})
    same(sizes(vm, "disk0", "disk1"), (16, 4))
    mark = vm.qmp.mark()
    if command == "job":
        same(vm.load("t", ["disk0", "disk1"]), None)
    else:
        same(vm.execute("human-monitor-command", {"command-line": "loadvm t"}), "")
    same(sizes(vm, "disk0", "disk1"), (8, 8))
    told = {event["event"] for event in vm.events[mark:]} - {"JOB_STATUS_CHANGE"}
    same(told, {"STOP", "RESUME"})


@experiment()
def a_snapshot_of_a_transaction_has_its_size_too(target):
    """The disk's, of the instant of the snapshot."""
    vm = target.start(two_disks())
    vm.execute("stop")
    same(vm.save("t", ["disk0"]), None)
    vm.execute("block_resize", {"node-name": "disk1", "size": 16 * MIB})
    vm.snapshot_disks("t", "disk1")
    vm.execute("block_resize", {"node-name": "disk1", "size": 32 * MIB})
    same(vm.load("t", ["disk0", "disk1"]), None)
    same(sizes(vm, "disk0", "disk1"), (8, 16))


@experiment()
def what_cannot_be_resized_is_named(target):
    """By node name or -drive id, not by a node's name as `device`."""
    vm = target.start(two_disks(DiskKind.RAW))
    unknown = "Cannot find device='{}' nor node-name='{}'"
    same(vm.refusal("block_resize", {"node-name": "x", "size": MIB}), unknown.format("", "x"))
    same(vm.refusal("block_resize", {"device": "disk0", "size": MIB}), unknown.format("disk0", ""))
    negative = vm.refusal("block_resize", {"node-name": "disk0", "size": -1})
    same(negative, "Parameter 'size' expects a >0 size")
    vm.execute("block_resize", {"node-name": "disk1", "size": 16 * MIB})
    same(sizes(vm, "disk1", "disk1-file"), (16, 16))
    vm.add_overlay("over")
    vm.execute("blockdev-snapshot", {"node": "disk0", "overlay": "over"})
    words = vm.refusal("block_resize", {"node-name": "disk0", "size": 16 * MIB})
    old, new = (
        "Device '(null)' is in use",
        "Node 'disk0' is busy: node is used as backing hd of 'over'",
    )
    same(words, old if vm.version < (10, 0) else new)


if __name__ == "__main__":
    run_by_hand(globals())
