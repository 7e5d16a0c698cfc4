"""Fact 35: deleting a snapshot of an inactive node ends QEMU."""

import signal

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.migration import (
    migrate_to,
    set_capabilities,
    wait_migration,
)
from backends.qemu_facts.lab.outcome import defect, found, same
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def deletion_on_an_inactive_node_aborts_qemu(qemu):
    """In postmigrate blockdev-snapshot-delete-internal-sync ends QEMU by an assertion."""
    vm = qemu.start(two_disks())
    set_capabilities(vm)
    vm.execute("stop")
    vm.snapshot_disks("a", "disk0")
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "completed", since=mark)
    vm.wait_until(lambda: vm.status() == "postmigrate", "postmigrate")
    command = "blockdev-snapshot-delete-internal-sync"
    death = vm.death_in(lambda: vm.execute(command, device="disk0", name="a"))
    defect(death, known=-signal.SIGABRT, right=None)
    found("BDRV_O_INACTIVE", vm.stderr())


@experiment()
def deletion_after_cont_works(target):
    """Made active first, the node gives its snapshot up."""
    vm = target.start(two_disks())
    set_capabilities(vm)
    vm.execute("stop")
    vm.snapshot_disks("a", "disk0")
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "completed", since=mark)
    vm.wait_until(lambda: vm.status() == "postmigrate", "postmigrate")
    vm.execute("cont")
    vm.execute("blockdev-snapshot-delete-internal-sync", device="disk0", name="a")
    same(vm.tags("disk0"), [])


if __name__ == "__main__":
    run_by_hand(globals())
