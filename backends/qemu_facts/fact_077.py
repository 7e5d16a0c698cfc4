"""Fact 77: a load after the guest has ended."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.ended import (
    end_guest,
    that_can_end,
)
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.steps.ended import DISKS, NEEDS_RESET, assert_runs_on, load


def ended(qemu, run_state):
    """A VM that has a snapshot, and whose guest has come to this end since."""
    vm = qemu.start(that_can_end(two_disks(guest=True)))
    vm.wait_guest(1)
    same(vm.save("a", DISKS, "disk0"), None)
    end_guest(vm, run_state)
    return vm


@experiment()
def guest_that_crashed(qemu):
    """The load is right, and nothing but `cont` is needed."""
    vm = ended(qemu, "guest-panicked")
    load(vm)
    same(vm.status(), "guest-panicked")
    assert_runs_on(vm)


@experiment()
def guest_that_shut_down(qemu):
    """It can be loaded, and does not run without a reset; a reset first makes all right."""
    vm = ended(qemu, "shutdown")
    same(vm.refusal("cont"), NEEDS_RESET)
    load(vm)
    same(vm.refusal("cont"), NEEDS_RESET)
    vm.execute("system_reset")
    vm.wait_until(lambda: vm.status() == "prelaunch", "the reset")
    load(vm)
    assert_runs_on(vm)


@experiment(since=(9, 0))
def guest_that_sleeps_is_stopped_and_loaded(qemu):
    """As one that runs; without a load it sleeps on."""
    vm = ended(qemu, "suspended")
    vm.execute("stop")
    same(vm.status(), "paused")
    vm.execute("cont")
    same(vm.status(), "suspended")
    vm.execute("stop")
    load(vm)
    assert_runs_on(vm)


@experiment(before=(9, 0))
def guest_that_sleeps_is_not_loaded_to_run(qemu):
    """Neither `stop` nor `cont` does anything; it must be woken."""
    vm = ended(qemu, "suspended")
    vm.execute("stop")
    same(vm.status(), "suspended")
    load(vm)
    vm.execute("cont")
    same(vm.status(), "suspended")
    vm.execute("system_wakeup")
    vm.wait_until(lambda: vm.status() == "running", "the guest awake")


if __name__ == "__main__":
    run_by_hand(globals())
