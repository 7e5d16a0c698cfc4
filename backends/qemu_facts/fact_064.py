"""Fact 64: migration settings that were left on."""

import signal

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import case, cases, experiment
from backends.qemu_facts.lab.outcome import defect, holds, same
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.steps.settings import BOTH, saved


def put(vm, name, on=True):
    vm.execute("migrate-set-capabilities", capabilities=[{"capability": name, "state": on}])


@experiment(before=(11, 0))
@cases("command", ["snapshot-save", "snapshot-load"])
def multifd_is_the_end_of_qemu(qemu, command):
    """SIGSEGV, in a save and in a load."""
    vm = saved(qemu)
    put(vm, "multifd")
    tag = "b" if command == "snapshot-save" else "a"
    death = vm.death_in(lambda: vm.run_job(command, tag=tag, devices=BOTH))
    defect(death, known=-signal.SIGSEGV, right=None)


@experiment(since=(11, 0))
def multifd_is_refused_before_a_disk_is_touched(target):
    """From 11 on; a load has stopped the guest by then."""
    vm = saved(target)
    put(vm, "multifd")
    same(vm.save("b", BOTH), "Snapshots are not compatible with multifd")
    same(vm.load("a", BOTH), "Snapshots are not compatible with multifd")
    same(vm.status(), "restore-vm")


@experiment()
@cases("name", ["x-ignore-shared", case("mapped-ram", since=(10, 0))])
def a_load_wants_what_the_save_had(target, name):
    """On at the load and not at the save: the disks are reverted, and then it fails."""
    vm = saved(target)
    put(vm, name)
    holds(vm.load("a", BOTH))
    same(vm.status(), "restore-vm")
    put(vm, name, on=False)
    same(vm.load("a", BOTH), None)


@experiment(before=(8, 0))
def block_migration_and_snapshots(target):
    """The capability `block` of 7 makes a save fail."""
    vm = saved(target)
    put(vm, "block")
    same(vm.save("b", BOTH), "Block migration and snapshots are incompatible")
    same(vm.load("a", BOTH), None)


@experiment(before=(8, 0))
def compressed_machine_state_cannot_be_loaded(target):
    """The capability `compress` of 7: the save succeeds, and no load of it does."""
    vm = target.start(two_disks())
    put(vm, "compress")
    same(vm.save("a", BOTH), None)
    put(vm, "compress", on=False)
    same(vm.load("a", BOTH), "Error -22 while loading VM state")


if __name__ == "__main__":
    run_by_hand(globals())
