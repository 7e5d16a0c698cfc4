"""Fact 100: savevm takes every writable disk."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import DiskKind, DiskSpec, Topology
from backends.qemu_facts.steps.hmp import held, hmp


@experiment()
def savevm_takes_every_writable_disk_and_puts_the_state_into_the_first(target):
    """What no option can change; nothing says it but the lists of the images."""
    vm = target.start(
        Topology(disks=(DiskSpec("disk0"), DiskSpec("ro", DiskKind.READ_ONLY), DiskSpec("disk1")))
    )
    same(hmp(vm, "savevm t"), "")
    same(held(vm, "disk0"), [("t", True)])
    same(held(vm, "disk1"), [("t", False)])
    same(held(vm, "ro"), [])


@experiment()
def one_disk_without_snapshots_stops_it(target):
    """The raw variables of UEFI firmware are the usual one; the error is a text in the reply."""
    vm = target.start(Topology(disks=(DiskSpec("disk0"), DiskSpec("raw", DiskKind.RAW))))
    error = "Error: Device 'raw' is writable but does not support snapshots\r\n"
    same(hmp(vm, "savevm t"), error)
    same(held(vm, "disk0"), [])


if __name__ == "__main__":
    run_by_hand(globals())
