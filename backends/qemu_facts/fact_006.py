"""Fact 6: one text for all nodes that cannot hold a snapshot."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import DiskKind, two_disks


@experiment()
@cases(
    ("kind", "node"),
    [
        (DiskKind.RAW, "disk1"),
        (DiskKind.READ_ONLY, "disk1"),
        (DiskKind.BACKED, "disk1-backing"),
    ],
)
def one_text_for_all_that_cannot_be_snapshotted(target, kind, node):
    """Raw, read-only and backing nodes are all `writable but does not support snapshots`."""
    vm = target.start(two_disks(kind))
    words = vm.save("a", ["disk0", node])
    same(words, f"Device '{node}' is writable but does not support snapshots")


if __name__ == "__main__":
    run_by_hand(globals())
