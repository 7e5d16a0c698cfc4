"""Fact 21: no QMP command reverts a disk."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def disk_only_snapshot_cannot_be_loaded(target):
    """Without machine state in the vmstate node's snapshot QEMU points to qemu-img."""
    vm = target.start(two_disks())
    vm.snapshot_disks("a", "disk0", "disk1")
    words = vm.load("a", ["disk0", "disk1"])
    same(words, "This is a disk-only snapshot. Revert to it  offline using qemu-img")


@experiment()
def no_command_reverts_a_disk(target):
    """The only commands about internal snapshots take, delete, save and load them."""
    vm = target.start(two_disks())
    names = {command["name"] for command in vm.execute("query-commands")}
    same(
        {name for name in names if "snapshot" in name and not name.startswith("x-")},
        {
            *("blockdev-snapshot", "blockdev-snapshot-sync"),
            *("blockdev-snapshot-internal-sync", "blockdev-snapshot-delete-internal-sync"),
            *("snapshot-save", "snapshot-load", "snapshot-delete"),
        },
    )


if __name__ == "__main__":
    run_by_hand(globals())
