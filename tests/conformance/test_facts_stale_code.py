"""Fact 76: what QEMU has translated of the guest's code, and a load that changes memory under it."""

import pytest

from tests.support.changing import changing_guest, wait_letter

pytestmark = pytest.mark.real_qemu

SINCE = pytest.mark.qemu_versions(since=(10, 2))
BEFORE = pytest.mark.qemu_versions(before=(10, 2))
NO_SUCH_TAG = "Snapshot 'none' does not exist in one or more devices"


@pytest.fixture
def vm(qemu, tmp_path):
    """Saved when the guest's routine said one letter; now it has been changed, and says another."""
    vm = qemu.start(changing_guest(tmp_path))
    wait_letter(vm)
    vm.execute("stop")
    saved = vm.console()[-1]
    assert vm.save("a", ["disk0"], "disk0") is None
    vm.execute("cont")
    wait_letter(vm, len(vm.console()), other_than=saved)
    return vm


def stop_by_load(vm):
    assert (
        vm.run_job("snapshot-load", tag="none", devices=["disk0"], vmstate="disk0") == NO_SUCH_TAG
    )
    assert vm.status() == "restore-vm"


def went_on_with(vm):
    """Load, continue, and see which code runs: that in memory, or what it was before."""
    assert vm.load("a", ["disk0"], "disk0") is None
    since = len(vm.console())
    vm.execute("cont")
    vm.wait_until(lambda: len(vm.console()) >= since + 4, "letters, or FAIL")
    return "code of before" if "FAIL" in vm.console()[since:] else "code in memory"


@SINCE
def test_fact_76_after_stop_the_code_of_before_runs(vm):
    """Memory holds the old routine, and the processor runs the new one."""
    vm.execute("stop")
    assert went_on_with(vm) == "code of before"


@SINCE
def test_fact_76_a_reset_does_not_help(vm):
    """Neither does a load that finds nothing, once the guest stands."""
    vm.execute("stop")
    assert (
        vm.run_job("snapshot-load", tag="none", devices=["disk0"], vmstate="disk0") == NO_SUCH_TAG
    )
    assert vm.status() == "paused"
    vm.execute("system_reset")
    vm.wait_until(lambda: vm.status() == "prelaunch", "the reset")
    assert went_on_with(vm) == "code of before"


@BEFORE
def test_fact_76_before_10_2_the_code_in_memory_runs(vm):
    """Each load makes those forget the translations."""
    vm.execute("stop")
    assert went_on_with(vm) == "code in memory"


def test_fact_76_stopped_by_a_load_that_finds_nothing(vm):
    """It stops the guest itself, forgets the translations, and reverts nothing."""
    stop_by_load(vm)
    assert went_on_with(vm) == "code in memory"


def test_fact_76_a_guest_that_stood_has_to_run_for_that(vm):
    """`cont`, and the load that finds nothing right behind it."""
    vm.execute("stop")
    vm.execute("cont")
    stop_by_load(vm)
    assert went_on_with(vm) == "code in memory"
