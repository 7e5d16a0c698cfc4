"""Fact 23: whether the VM runs after a load."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import two_disks


@experiment()
@cases("saved_running", [True, False], ["saved running", "saved stopped"])
@cases("loaded_running", [True, False], ["loaded running", "loaded stopped"])
def run_state_after_a_load_is_that_before_it(target, saved_running, loaded_running):
    """What was saved does not decide whether the VM runs; what it was before the load does."""
    vm = target.start(two_disks(paused=True))
    for running, act in ((saved_running, vm.save), (loaded_running, vm.load)):
        vm.execute("cont")
        if not running:
            vm.execute("stop")
        same(act("a", ["disk0", "disk1"]), None)
    same(vm.status(), "running" if loaded_running else "paused")


if __name__ == "__main__":
    run_by_hand(globals())
