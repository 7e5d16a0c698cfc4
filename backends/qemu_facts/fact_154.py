"""Fact 154: what is added to QEMU and is no device leaves a load by `snapshot-load` alone."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import two_disks

DISKS = ["disk0", "disk1"]
MISSING = "Error: Snapshot 't' does not exist in one or more devices\r\n"


@experiment()
def objects_and_backends_are_in_no_snapshot(qemu):
    """An object, a network backend and a character device come and go; the load succeeds."""
    vm = qemu.start(two_disks())
    same(vm.save("t", DISKS), None)
    memory = {"qom-type": "memory-backend-ram", "id": "memory", "size": 2**20}
    vm.execute("object-add", memory)
    vm.execute("object-add", {"qom-type": "iothread", "id": "thread"})
    vm.execute("netdev_add", {"type": "hubport", "hubid": 0, "id": "net"})
    vm.execute("chardev-add", {"id": "char", "backend": {"type": "null", "data": {}}})
    same((vm.load("t", DISKS), vm.status()), (None, "running"))
    same(vm.save("u", DISKS), None)
    vm.execute("object-del", id="memory")
    vm.execute("netdev_del", id="net")
    vm.execute("chardev-remove", id="char")
    same((vm.load("u", DISKS), vm.status()), (None, "running"))


@experiment()
def a_node_that_was_added_stops_loadvm_only(target):
    """The jobs look at the nodes that they are given, `loadvm` at all that can be written."""
    vm = target.start(two_disks())
    same(vm.save("t", DISKS), None)
    vm.add_node("more")
    same((vm.load("t", DISKS), vm.status()), (None, "running"))
    same(vm.execute("human-monitor-command", {"command-line": "loadvm t"}), MISSING)
    same(vm.status(), "restore-vm")
    vm.execute("cont")
    vm.execute("blockdev-del", {"node-name": "more"})
    same(vm.execute("human-monitor-command", {"command-line": "loadvm t"}), "")


if __name__ == "__main__":
    run_by_hand(globals())
