"""Fact 36: no second migration in postmigrate."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.migration import (
    stream_uri,
)
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.steps.migration import migrated


@experiment()
def second_migrate_in_postmigrate_is_refused(target):
    """A VM that a migration paused cannot be migrated again before `cont`."""
    vm = migrated(target)
    words = vm.refusal("migrate", uri=stream_uri(vm, vm.directory / "again"))
    same(words, "Can't migrate the vm that was paused due to previous migration")


if __name__ == "__main__":
    run_by_hand(globals())
