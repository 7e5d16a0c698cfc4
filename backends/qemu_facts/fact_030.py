"""Fact 30: a transaction at the switchover of a migration."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.migration import (
    migrate_to,
    set_capabilities,
    wait_migration,
)
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.lab.vm import internal, overlay
from backends.qemu_facts.steps.migration import restore_external


def at_switchover(target, **options):
    """A VM that runs until its stream is all but written: in `finish-migrate`."""
    vm = target.start(two_disks(**options))
    set_capabilities(vm, "pause-before-switchover")
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "pre-switchover", since=mark)
    return vm, mark


@experiment()
def mixed_transaction_before_the_switchover(target):
    """In pre-switchover the guest stands, and one transaction takes snapshots and overlays."""
    vm, mark = at_switchover(target)
    same(vm.status(), "finish-migrate")
    vm.add_overlay("over")
    vm.transaction(internal("disk0", "a"), overlay("disk1", "over"))
    vm.execute("migrate-continue", state="pre-switchover")
    wait_migration(vm, "completed", since=mark)
    vm.wait_until(lambda: vm.status() == "postmigrate", "postmigrate")
    vm.execute("cont")
    vm.wait_until(lambda: vm.status() == "running", "running")
    same(vm.tags("disk0"), ["a"])
    same(vm.node_of("over"), "over")


@experiment()
def all_parts_are_of_the_instant_of_the_stop(qemu):
    """Disks captured in pre-switchover and the stream are one instant: the guest agrees."""
    vm, mark = at_switchover(qemu, guest=True)
    vm.snapshot_disks("a", "disk0", "disk1")
    saved_at = len(vm.console())
    vm.execute("migrate-continue", state="pre-switchover")
    wait_migration(vm, "completed", since=mark)
    vm.wait_until(lambda: vm.status() == "postmigrate", "postmigrate")
    vm.execute("cont")
    vm.wait_guest(3, since=saved_at)
    restore_external(qemu, vm, "a")


if __name__ == "__main__":
    run_by_hand(globals())
