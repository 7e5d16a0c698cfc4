"""Fact 25: a transaction names the disk that cannot."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import DiskKind, two_disks
from backends.qemu_facts.lab.vm import internal


@experiment()
def name_clash_fails_the_whole(target):
    """One disk that has the name already is enough, and nothing is left on the others."""
    vm = target.start(two_disks())
    vm.snapshot_disks("a", "disk1")
    words = vm.refused_transaction(internal("disk0", "a"), internal("disk1", "a"))
    same(words, "Snapshot with name 'a' already exists on device 'disk1'")
    same(vm.tags("disk0"), [])
    same(vm.tags("disk1"), ["a"])


@experiment()
@cases(
    ("kind", "error"),
    [
        (
            DiskKind.RAW,
            "Block format 'raw' used by device 'disk1' does not support internal snapshots",
        ),
        (DiskKind.READ_ONLY, "Device 'disk1' is read only"),
    ],
    ["raw", "read-only"],
)
def disk_that_cannot_fails_the_whole(target, kind, error):
    """Unlike the job a transaction says why, and nothing is left on the others."""
    vm = target.start(two_disks(kind))
    same(vm.refused_transaction(internal("disk0", "a"), internal("disk1", "a")), error)
    same(vm.tags("disk0"), [])


if __name__ == "__main__":
    run_by_hand(globals())
