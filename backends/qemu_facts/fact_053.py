"""Fact 53: a bandwidth below ten is no limit."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.migration import migrate_to, set_capabilities, wait_migration
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def bandwidth_below_ten_is_no_limit(target):
    """QEMU counts by tenths of a second: fewer than 10 bytes a second round down to no limit."""
    vm = target.start(two_disks())
    set_capabilities(vm)
    vm.execute("migrate-set-parameters", {"max-bandwidth": 9})
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "completed", since=mark)


if __name__ == "__main__":
    run_by_hand(globals())
