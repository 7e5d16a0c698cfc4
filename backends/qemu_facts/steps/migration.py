"""Machine state written to a file, and read by a fresh QEMU."""

from backends.qemu_facts.lab.guest import heartbeats
from backends.qemu_facts.lab.migration import (
    incoming_uri,
    migrate_to,
    set_capabilities,
    wait_migration,
)
from backends.qemu_facts.lab.outcome import holds
from backends.qemu_facts.lab.topology import two_disks


def migrated(target, **options):
    """A VM whose machine state has been streamed to a file: in `postmigrate`."""
    vm = target.start(two_disks(**options))
    vm.execute("stop")
    set_capabilities(vm)
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "completed", since=mark)
    vm.wait_until(lambda: vm.status() == "postmigrate", "postmigrate")
    return vm


def restore_external(qemu, vm, tag):
    """Revert the disks, start a fresh QEMU from the stream, and demand that the guest goes on."""
    saved_at = heartbeats(vm.console())
    vm.end()
    for disk in vm.topology.disks:
        vm.revert_image(disk.name, tag)
    restored = qemu.run(vm, vm.topology, "-incoming", incoming_uri(vm, vm.directory / "state"))
    restored.wait_until(lambda: restored.status() in {"running", "paused"}, "the stream read")
    if restored.status() == "paused":
        restored.execute("cont")
    again = restored.wait_guest(3)
    holds(again[0] <= saved_at[-1], "it went back in time")
