"""A VM with a snapshot whose guest has ended since, and its load."""

from backends.qemu_facts.lab.outcome import missing, same

NEEDS_RESET = "Resetting the Virtual Machine is required"


DISKS = ["disk0", "disk1"]


def load(vm):
    same(vm.load("a", DISKS, "disk0"), None)


def assert_runs_on(vm):
    since = len(vm.console())
    vm.execute("cont")
    same(vm.status(), "running")
    vm.wait_guest(2, since=since)
    missing("start", vm.console()[since:])
