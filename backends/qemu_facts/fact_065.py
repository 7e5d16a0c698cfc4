"""Fact 65: a failed migration makes loads fail."""

import contextlib
import socket

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import found, holds, missing, same
from backends.qemu_facts.lab.qmp import QmpError
from backends.qemu_facts.steps.settings import BOTH, saved


def fail_a_migration(vm):
    with contextlib.suppress(QmpError):
        vm.execute("migrate", uri="fd:nobody")
    vm.wait_until(lambda: vm.execute("query-migrate").get("status") == "failed", "a failure")


@experiment(since=(10, 0))
def a_failed_migration_makes_every_load_fail(target):
    """Until a save, which begins anew."""
    vm = saved(target)
    fail_a_migration(vm)
    holds(vm.execute("query-migrate")["error-desc"])
    found(
        vm.load("a", BOTH),
        {
            "Error -22 while loading VM state",
            "Error while loading vmstate",
        },
    )
    same(vm.status(), "restore-vm")
    same(vm.save("b", BOTH), None)
    missing("error-desc", vm.execute("query-migrate"))
    same(vm.load("a", BOTH), None)


@experiment(since=(10, 0))
def a_cancelled_migration_has_it_forgotten(qemu):
    """Into a socket that nobody reads, cancelled once it is active: the guest does not stop."""
    vm = saved(qemu)
    fail_a_migration(vm)
    vm.execute("migrate-set-parameters", {"max-bandwidth": 4096})
    ours, theirs = socket.socketpair()
    with ours, theirs:
        vm.pass_fd("sink", theirs.fileno())
        vm.execute("migrate", uri="fd:sink")
        vm.wait_until(lambda: vm.execute("query-migrate")["status"] == "active", "active")
        vm.execute("migrate_cancel")
        vm.wait_until(lambda: vm.execute("query-migrate")["status"] == "cancelled", "cancelled")
    missing("error-desc", vm.execute("query-migrate"))
    same(vm.status(), "running")
    same(vm.load("a", BOTH), None)


@experiment(before=(8, 0))
def version_7_does_not_mind(target):
    """A load succeeds whatever became of a migration."""
    vm = saved(target)
    fail_a_migration(vm)
    same(vm.load("a", BOTH), None)


if __name__ == "__main__":
    run_by_hand(globals())
