"""Fact 69: a load after an internal error."""

import contextlib

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.internal_error import internal_error_guest, wait_internal_error
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.qmp import QmpClosed
from backends.qemu_facts.steps.ended import NEEDS_RESET


def stuck_guest(qemu, *more):
    """A VM whose guest did what KVM cannot do, and its snapshot, which can be taken even then."""
    vm = qemu.start(internal_error_guest(*more))
    wait_internal_error(vm)
    same(vm.save("a", ["disk0"], "disk0"), None)
    same(vm.status(), "internal-error")
    return vm


@experiment(slow=True)
def a_reset_and_then_the_load(qemu):
    """It can be loaded, and does not run without a reset; a reset first makes all right."""
    stuck = stuck_guest(qemu)
    same(stuck.refusal("cont"), NEEDS_RESET)
    same(stuck.load("a", ["disk0"], "disk0"), None)
    same(stuck.status(), "internal-error")
    same(stuck.refusal("cont"), NEEDS_RESET)
    stuck.execute("system_reset")
    stuck.wait_until(lambda: stuck.status() == "prelaunch", "the reset")
    same(stuck.load("a", ["disk0"], "disk0"), None)
    stuck.execute("cont")
    wait_internal_error(stuck)  # the guest that was saved does the same again


@experiment(slow=True)
def a_reset_ends_a_qemu_without_reboot(qemu):
    """Where it would have shut down for a reboot of its guest."""
    stuck = stuck_guest(qemu, "-no-reboot")
    with contextlib.suppress(QmpClosed):
        stuck.execute("system_reset")
    same(stuck.wait_death(), 0)


@experiment(slow=True)
def a_reset_that_never_comes(qemu):
    """With both, the VM stays as it is, and nothing leads out of it."""
    stuck = stuck_guest(qemu, "-no-reboot", "-no-shutdown")
    stuck.execute("system_reset")
    stuck.wait_event("SHUTDOWN")
    same(stuck.status(), "internal-error")
    same(stuck.refusal("cont"), NEEDS_RESET)


if __name__ == "__main__":
    run_by_hand(globals())
