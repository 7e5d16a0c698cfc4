"""Facts 68, 69, 77: a load when the guest has shut down, crashed, gone to sleep, or met an error."""

import contextlib
import os
from functools import partial

import pytest

from tests.support import guest
from tests.support.ended import (
    end_guest,
    fail_request,
    let_files_grow,
    that_can_end,
    with_failing_storage,
)
from tests.support.internal_error import internal_error_guest, wait_internal_error
from tests.support.qmp import QmpClosed
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


# --- an error of the storage ----------------------------------------


def failed(qemu, device):
    """A VM with a snapshot, whose guest was stopped since a write found no room."""
    vm = qemu.start(with_failing_storage(device))
    vm.wait_guest(1)
    fail_request(vm, "a")
    return vm


@pytest.mark.parametrize("device", ["virtio-blk-pci", "scsi-hd"])
def test_fact_68_these_devices_forget_the_request(qemu, device):
    """The load is right, QEMU goes on to call it an error, and nothing but `cont` is needed."""
    vm = failed(qemu, device)
    statuses = [block["io-status"] for block in vm.execute("query-block")]
    assert sorted(statuses) == ["failed", "ok"]
    let_files_grow(vm)
    load(vm)
    assert vm.status() == "io-error"
    assert_runs_on(vm)


def test_fact_68_a_reset_drops_the_request_too(qemu):
    """It leaves `prelaunch`, from where the load is right."""
    vm = failed(qemu, "virtio-blk-pci")
    vm.execute("system_reset")
    vm.wait_until(lambda: vm.status() == "prelaunch", "the reset")
    let_files_grow(vm)
    load(vm)
    assert_runs_on(vm)


@pytest.mark.long
def test_fact_68_ide_sends_the_request_again(qemu):
    """Into the guest that was loaded, which at some time has one of its own under way: it breaks."""
    vm = failed(qemu, "ide-hd")
    for _ in range(20):
        let_files_grow(vm)
        load(vm)
        since = len(vm.console())
        vm.execute("cont")
        vm.wait_until(partial(says_something, vm, since), "two heartbeats, or an error")
        if guest.failures(vm.console()):
            break
        vm.wait_guest(2, since=since)
        fail_request(vm, f"b{vm.new_job_id()}")
    assert "ERROR" in guest.failures(vm.console())[0]


def says_something(vm, since):
    text = vm.console()[since:]
    return guest.failures(text.rpartition("\n")[0]) or len(guest.heartbeats(text)) >= 2


# --- an error inside KVM ----------------------------------------

NO_KVM = not os.access("/dev/kvm", os.W_OK)


@pytest.fixture
def stuck(qemu, request):
    """A VM whose guest did what KVM cannot do, and its snapshot, which can be taken even then."""
    vm = qemu.start(internal_error_guest(*getattr(request, "param", ())))
    wait_internal_error(vm)
    assert vm.save("a", ["disk0"], "disk0") is None
    assert vm.status() == "internal-error"
    return vm


@pytest.mark.long
@pytest.mark.skipif(NO_KVM, reason="only KVM comes to such an end")
def test_fact_69_a_reset_and_then_the_load(stuck):
    """It can be loaded, and does not run without a reset; a reset first makes all right."""
    assert stuck.refusal("cont") == NEEDS_RESET
    assert stuck.load("a", ["disk0"], "disk0") is None
    assert stuck.status() == "internal-error"
    assert stuck.refusal("cont") == NEEDS_RESET
    stuck.execute("system_reset")
    stuck.wait_until(lambda: stuck.status() == "prelaunch", "the reset")
    assert stuck.load("a", ["disk0"], "disk0") is None
    stuck.execute("cont")
    wait_internal_error(stuck)  # the guest that was saved does the same again


@pytest.mark.long
@pytest.mark.skipif(NO_KVM, reason="only KVM comes to such an end")
@pytest.mark.parametrize("stuck", [("-no-reboot",)], indirect=True)
def test_fact_69_a_reset_ends_a_qemu_without_reboot(stuck):
    """Where it would have shut down for a reboot of its guest."""
    with contextlib.suppress(QmpClosed):
        stuck.execute("system_reset")
    assert stuck.wait_death() == 0


@pytest.mark.long
@pytest.mark.skipif(NO_KVM, reason="only KVM comes to such an end")
@pytest.mark.parametrize("stuck", [("-no-reboot", "-no-shutdown")], indirect=True)
def test_fact_69_a_reset_that_never_comes(stuck):
    """With both, the VM stays as it is, and nothing leads out of it."""
    stuck.execute("system_reset")
    stuck.wait_event("SHUTDOWN")
    assert stuck.status() == "internal-error"
    assert stuck.refusal("cont") == NEEDS_RESET
