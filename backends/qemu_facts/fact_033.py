"""Fact 33: what blocks a migration blocks a save."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.migration import (
    stream_uri,
)
from backends.qemu_facts.lab.outcome import missing, same
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def blocked_reasons_tell_what_stops_migrate_and_save(qemu):
    """A node that cannot migrate (the old qcow format) blocks both, and query-migrate says so."""
    vm = qemu.start(two_disks())
    missing("blocked-reasons", vm.execute("query-migrate"))
    vm.add_node("old", "qcow")
    (reason,) = vm.execute("query-migrate")["blocked-reasons"]
    same(reason, "The qcow format used by node 'old' does not support live migration")
    same(vm.refusal("migrate", uri=stream_uri(vm, vm.directory / "state")), reason)
    same(vm.save("a", ["disk0", "disk1"]), reason)
    same(vm.status(), "running")


if __name__ == "__main__":
    run_by_hand(globals())
