"""Fact 57: a migration cancelled while it stops the guest."""

import contextlib

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.migration import (
    migrate_to,
    set_capabilities,
)
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.qmp import QmpError
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def a_migration_that_is_cancelled_while_it_stops_the_guest_can_be_freed(target):
    """Cancelled as soon as the guest stands, it ends, of itself or by `migrate-continue`."""
    vm = target.start(two_disks())
    set_capabilities(vm, "pause-before-switchover")

    def ended():
        status = vm.execute("query-migrate")["status"]
        if status == "cancelling":  # by the time of the answer it may be over
            with contextlib.suppress(QmpError):
                vm.execute("migrate-continue", state="cancelling")
        return status == "cancelled" and vm.status() == "running"

    for number in range(6):
        mark = migrate_to(vm, vm.directory / f"state{number}")
        vm.wait_event("STOP", since=mark)
        vm.execute("migrate_cancel")
        vm.wait_until(ended, "cancelled, and the guest runs")
    same(
        vm.refusal("migrate-continue", state="cancelling"),
        "Migration not in expected state: cancelled",
    )


if __name__ == "__main__":
    run_by_hand(globals())
