"""Fact 34: what an active migration forbids."""

import contextlib

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.migration import (
    migrate_to,
    set_capabilities,
    stream_uri,
    wait_migration,
)
from backends.qemu_facts.lab.outcome import differs, same
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.lab.vm import internal, overlay

STANDSTILL = {"max-bandwidth": 4096, "downtime-limit": 0}


@contextlib.contextmanager
def slow_migration(target):
    """A VM with a migration that does not get on, cancelled in the end."""
    vm = target.start(two_disks(memory_mib=64))
    set_capabilities(vm)
    vm.execute("migrate-set-parameters", STANDSTILL)
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "active", since=mark)
    yield vm
    same(vm.execute("query-migrate")["status"], "active")
    vm.execute("migrate_cancel")
    wait_migration(vm, "cancelled", since=mark)


@experiment()
def block_layer_is_free_while_a_migration_is_active(target):
    """Snapshots, their deletion, overlays, bitmaps, blockdev-add, stop and cont are allowed."""
    with slow_migration(target) as vm:
        vm.add_overlay("over")
        vm.transaction(internal("disk0", "a"), overlay("disk1", "over"))
        vm.execute("blockdev-snapshot-delete-internal-sync", device="disk0", name="a")
        vm.execute("block-dirty-bitmap-add", node="disk0", name="bitmap")
        vm.execute("stop")
        vm.execute("cont")


@experiment()
def save_and_devices_wait_for_the_end_of_a_migration(target):
    """device_add, another migrate and other capabilities are refused; a save fails in its job."""
    with slow_migration(target) as vm:
        vm.add_node("more", "raw")
        words = vm.refusal("device_add", driver="virtio-blk-pci", drive="more")
        same(words, "device_add not allowed while migrating")
        uri = stream_uri(vm, vm.directory / "other")
        same(vm.refusal("migrate", uri=uri), "There's a migration process in progress")
        same(
            vm.refusal(
                "migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}]
            ),
            "There's a migration process in progress",
        )
        differs(vm.save("a", ["disk0"]), None)
        same(vm.tags("disk0"), [])


if __name__ == "__main__":
    run_by_hand(globals())
