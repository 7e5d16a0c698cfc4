"""Fact 112: a disk that is being backed up is under a filter."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.steps.copies import add_target, concluded, copying


@experiment()
def a_disk_that_is_copied_is_under_a_filter(qemu):
    """Nobody else gets at its node or at the copy's; the copy can be cancelled at any time."""
    vm = qemu.start(two_disks(guest=True))
    add_target(vm)
    mark = copying(vm)
    nodes = {block["inserted"]["drv"] for block in vm.execute("query-block")}
    same(nodes, {"copy-before-write", "qcow2"})
    snapshot = {"device": "disk0", "name": "a"}
    refused = vm.refusal("blockdev-snapshot-internal-sync", snapshot)
    same(refused, "Need a root block node")
    busy = "Node 'copy' is busy: block device is in use by block job: backup"
    same(vm.refusal("blockdev-del", {"node-name": "copy"}), busy)
    same(vm.execute("job-cancel", id="copy"), {})
    same(concluded(vm, mark)["error"], "Operation canceled")
    vm.execute("job-dismiss", id="copy")
    same(vm.execute("blockdev-del", {"node-name": "copy"}), {})
    same(vm.node_of("disk0"), "disk0")


if __name__ == "__main__":
    run_by_hand(globals())
