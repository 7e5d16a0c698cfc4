"""Fact 77: a load when the guest has shut down, crashed or gone to sleep."""

import pytest

from tests.support.ended import end_guest, that_can_end
from tests.support.topology import two_disks

pytestmark = pytest.mark.real_qemu

SLEEPS = pytest.mark.qemu_versions(since=(9, 0))
NEEDS_RESET = "Resetting the Virtual Machine is required"
DISKS = ["disk0", "disk1"]


def ended(qemu, run_state):
    """A VM that has a snapshot, and whose guest has come to this end since."""
    vm = qemu.start(that_can_end(two_disks(guest=True)))
    vm.wait_guest(1)
    assert vm.save("a", DISKS, "disk0") is None
    end_guest(vm, run_state)
    return vm


def load(vm):
    assert vm.load("a", DISKS, "disk0") is None


def assert_runs_on(vm):
    since = len(vm.console())
    vm.execute("cont")
    assert vm.status() == "running"
    vm.wait_guest(2, since=since)
    assert "start" not in vm.console()[since:]


def test_fact_77_guest_that_crashed(qemu):
    """The load is right, and nothing but `cont` is needed."""
    vm = ended(qemu, "guest-panicked")
    load(vm)
    assert vm.status() == "guest-panicked"
    assert_runs_on(vm)


def test_fact_77_guest_that_shut_down(qemu):
    """It can be loaded, and does not run without a reset; a reset first makes all right."""
    vm = ended(qemu, "shutdown")
    assert vm.refusal("cont") == NEEDS_RESET
    load(vm)
    assert vm.refusal("cont") == NEEDS_RESET
    vm.execute("system_reset")
    vm.wait_until(lambda: vm.status() == "prelaunch", "the reset")
    load(vm)
    assert_runs_on(vm)


@SLEEPS
def test_fact_77_guest_that_sleeps_is_stopped_and_loaded(qemu):
    """As one that runs; without a load it sleeps on."""
    vm = ended(qemu, "suspended")
    vm.execute("stop")
    assert vm.status() == "paused"
    vm.execute("cont")
    assert vm.status() == "suspended"
    vm.execute("stop")
    load(vm)
    assert_runs_on(vm)


@pytest.mark.qemu_versions(before=(9, 0))
def test_fact_77_guest_that_sleeps_is_not_loaded_to_run(qemu):
    """Neither `stop` nor `cont` does anything; it must be woken."""
    vm = ended(qemu, "suspended")
    vm.execute("stop")
    assert vm.status() == "suspended"
    load(vm)
    vm.execute("cont")
    assert vm.status() == "suspended"
    vm.execute("system_wakeup")
    vm.wait_until(lambda: vm.status() == "running", "the guest awake")
