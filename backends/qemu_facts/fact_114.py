"""Fact 114: a background capture and a copy go on beside each other; no other capture ends."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.migration import migrate_to, set_capabilities, wait_migration
from backends.qemu_facts.lab.outcome import found, same
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.steps.copies import add_target, concluded, copying

MEASURED = 2**21
"""Bytes a second: the copy takes some seconds, and the stream ends meanwhile."""


@experiment()
def no_stream_ends_while_a_disk_is_copied(qemu):
    """The job keeps its nodes writable, so they cannot go inactive: the migration fails."""
    vm = qemu.start(two_disks(guest=True))
    add_target(vm)
    set_capabilities(vm)
    copying(vm)
    since = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "failed", since=since)
    [job] = vm.execute("query-jobs")
    same((job["id"], job["status"]), ("copy", "running"))
    stands = "paused" if vm.version >= (10, 0) else "postmigrate"
    vm.wait_until(lambda: vm.status() == stands, "the run state that stays")


@experiment(since=(10, 0))
def a_background_capture_ends_while_a_disk_is_copied(qemu):
    """Nothing goes inactive there: the stream is complete, the job goes on, and both end well."""
    vm = qemu.start(two_disks(guest=True))
    add_target(vm)
    set_capabilities(vm, "background-snapshot")
    mark = copying(vm, speed=MEASURED)
    since = migrate_to(vm, vm.directory / "state")
    vm.wait_until(
        lambda: vm.execute("query-migrate").get("ram", {}).get("normal", 0) > 0, "write tracking"
    )
    at = len(vm.console())
    vm.execute("cont")
    wait_migration(vm, "completed", since=since)
    [job] = vm.execute("query-jobs")
    found(job["status"], ("running", "concluded"))
    same(concluded(vm, mark).get("error"), None)
    vm.wait_guest(2, since=at)


if __name__ == "__main__":
    run_by_hand(globals())
