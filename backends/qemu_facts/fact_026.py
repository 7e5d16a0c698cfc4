"""Fact 26: blockdev-snapshot-sync overwrites files, and leaves them."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.topology import two_disks


def snapshot_sync(node, path):
    """The action that makes the overlay's file and attaches it, in one."""
    data = {"node-name": node, "snapshot-file": str(path), "snapshot-node-name": "over"}
    return "blockdev-snapshot-sync", {**data, "format": "qcow2"}


@experiment()
def failed_snapshot_sync_leaves_its_file(qemu):
    """The overlay's file is made in prepare and stays when the transaction fails."""
    vm = qemu.start(two_disks())
    path = vm.directory / "over.qcow2"
    holds(vm.refused_transaction(snapshot_sync("disk1", path), ("abort", {})))
    holds(path.exists())
    same(vm.node_of("disk1"), "disk1")


@experiment()
def snapshot_sync_overwrites_what_is_there(qemu):
    """A file that exists already is made anew without a word, even if the transaction fails."""
    vm = qemu.start(two_disks())
    path = vm.directory / "over.qcow2"
    path.write_bytes(b"something precious")
    holds(vm.refused_transaction(snapshot_sync("disk1", path), ("abort", {})))
    holds(path.read_bytes().startswith(b"QFI\xfb"))


if __name__ == "__main__":
    run_by_hand(globals())
