"""Fact 16: flat lists leave backing images out."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import found, missing
from backends.qemu_facts.lab.topology import DiskKind, two_disks


@experiment()
def flat_leaves_backing_chains_out(target):
    """`flat: true` names each node once, without the images under it."""
    vm = target.start(two_disks(DiskKind.BACKED))
    missing("backing-image", vm.nodes()["disk1"]["image"])
    deep = {node["node-name"]: node for node in vm.execute("query-named-block-nodes")}
    found("backing-image", deep["disk1"]["image"])


if __name__ == "__main__":
    run_by_hand(globals())
