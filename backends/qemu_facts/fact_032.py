"""Fact 32: a fresh QEMU goes on from a stream."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.migration import (
    migrate_to,
    set_capabilities,
    wait_migration,
)
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.steps.migration import restore_external


@experiment()
def fresh_qemu_starts_from_stream_and_reverted_disks(qemu):
    """An external snapshot is restored by `-incoming` on disks that qemu-img reverted."""
    vm = qemu.start(two_disks(guest=True))
    set_capabilities(vm)
    vm.wait_guest(1)
    vm.execute("stop")
    vm.snapshot_disks("a", "disk0", "disk1")
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "completed", since=mark)
    vm.wait_until(lambda: vm.status() == "postmigrate", "postmigrate")
    vm.execute("cont")
    vm.wait_guest(4)
    restore_external(qemu, vm, "a")


if __name__ == "__main__":
    run_by_hand(globals())
