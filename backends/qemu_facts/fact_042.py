"""Fact 42: what does not go with a background capture."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.migration import (
    incoming_uri,
    migrate_to,
    set_capabilities,
    wait_migration,
)
from backends.qemu_facts.lab.outcome import defect, same
from backends.qemu_facts.lab.topology import two_disks


@experiment(since=(10, 0))
def background_with_mapped_ram_cannot_be_loaded(qemu):
    """The pair is accepted and reports completed, and no QEMU starts from the file."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(1)
    set_capabilities(vm, "background-snapshot", "mapped-ram")
    vm.execute("stop")
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "completed", since=mark)
    vm.end()
    restored = qemu.run(vm, vm.topology, "-incoming", "defer")
    set_capabilities(restored, "mapped-ram")

    def read() -> None:
        restored.execute("migrate-incoming", uri=incoming_uri(vm, vm.directory / "state"))
        restored.wait_until(lambda: restored.status() != "inmigrate", "the stream read")

    defect(restored.death_in(read), known=1, right=None)


@experiment()
@cases("other", ["multifd", "postcopy-ram", "dirty-bitmaps"])
def capabilities_that_background_refuses(target, other):
    """What would write memory another way is refused beside background-snapshot."""
    vm = target.start(two_disks())
    pair = [{"capability": name, "state": True} for name in ("background-snapshot", other)]
    same(
        vm.refusal("migrate-set-capabilities", capabilities=pair),
        f"Background-snapshot is not compatible with {other}",
    )


if __name__ == "__main__":
    run_by_hand(globals())
