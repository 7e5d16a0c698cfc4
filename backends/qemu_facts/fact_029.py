"""Fact 29: a completed migration leaves nodes inactive."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.migration import (
    migrate_to,
    set_capabilities,
    wait_migration,
)
from backends.qemu_facts.lab.outcome import holds, missing, same
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.lab.vm import internal, overlay
from backends.qemu_facts.steps.migration import migrated


@experiment()
def internal_snapshot_after_a_migration_is_refused(target):
    """In postmigrate the nodes are inactive; the words about the format mislead."""
    vm = migrated(target)
    same(
        vm.refused_transaction(internal("disk0", "a")),
        "Block format 'qcow2' used by device 'disk0' does not support internal snapshots",
    )
    same(vm.save("a", ["disk0"]), "Device 'disk0' is writable but does not support snapshots")


@experiment()
def overlay_after_a_migration_is_accepted(target):
    """Overlays still attach in postmigrate."""
    vm = migrated(target)
    vm.add_overlay("over")
    vm.transaction(overlay("disk1", "over"))
    same(vm.node_of("over"), "over")


@experiment()
def cont_makes_the_nodes_active_again(target):
    """After `cont` internal snapshots work."""
    vm = migrated(target)
    vm.execute("cont")
    vm.wait_until(lambda: vm.status() == "running", "running")
    vm.snapshot_disks("a", "disk0", "disk1")


@experiment()
def transaction_before_migrate_works(target):
    """With the guest stopped: first the disks, then the machine state."""
    vm = target.start(two_disks())
    set_capabilities(vm)
    vm.execute("stop")
    vm.snapshot_disks("a", "disk0", "disk1")
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "completed", since=mark)
    vm.wait_until(lambda: vm.status() == "postmigrate", "postmigrate")
    holds(vm.tags("disk0") == vm.tags("disk1") == ["a"])
    vm.execute("cont")


@experiment(since=(10, 0))
def nodes_say_whether_they_are_active(target):
    """From 10.0 nodes show `active`, and blockdev-set-active makes them so without `cont`."""
    vm = migrated(target)
    same(vm.nodes()["disk0"]["active"], False)
    vm.execute("blockdev-set-active", active=True)
    same(vm.nodes()["disk0"]["active"], True)
    same(vm.status(), "postmigrate")
    vm.snapshot_disks("a", "disk0", "disk1")


@experiment(before=(10, 0))
def nodes_do_not_say_whether_they_are_active(target):
    """Before 10.0 neither `active` nor blockdev-set-active exists."""
    vm = target.start(two_disks())
    missing("active", vm.nodes()["disk0"])
    commands = {command["name"] for command in vm.execute("query-commands")}
    missing("blockdev-set-active", commands)


if __name__ == "__main__":
    run_by_hand(globals())
