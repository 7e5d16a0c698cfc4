"""A load goes on with the code that memory holds then, on every QEMU that translates code (fact 76)."""

import pytest

from tests.live.snapshots import act, save
from tests.support.changing import changing_guest, wait_letter

pytestmark = pytest.mark.real_qemu


@pytest.fixture
def vm(qemu, tmp_path):
    """A guest that goes on changing its code, and says FAIL where other code runs than is in memory."""
    vm = qemu.start(changing_guest(tmp_path))
    wait_letter(vm)
    return vm


def saved_and_changed(vm):
    """Saved, and half of the letters later: a manifest."""
    manifest = save(vm, "a", ["disk0"], "disk0")
    for _ in range(12):
        wait_letter(vm, len(vm.console()), other_than=vm.console()[-1])
    return manifest


@pytest.mark.parametrize("before", ["running", "paused"])
@pytest.mark.parametrize("after", ["running", "paused"])
def test_a_load_runs_the_code_that_it_loads(vm, before, after):
    """Whatever ran or stood before; a guest that is to stand does, until it is continued."""
    manifest = saved_and_changed(vm)
    if before == "paused":
        vm.execute("stop")
    code, said, stderr = act("load", manifest, vm, "--run-state-after", after)
    assert code == 0, stderr
    assert said["run-state"] == vm.status()
    assert vm.execute("query-jobs") == []
    if after == "paused":
        assert vm.status() in {"paused", "restore-vm"}
        stands = len(vm.console())
        assert not vm.execute("query-status")["running"]
        assert len(vm.console()) == stands
        vm.execute("cont")
    wait_letter(vm, len(vm.console()))


def test_what_is_kept_first_is_loaded_right_as_well(vm):
    """`--keep-current` leaves the guest standing before the load; its snapshot has the other code."""
    manifest = saved_and_changed(vm)
    where = ("--store", vm.directory / "store")
    code, said, stderr = act("load", manifest, vm, "--keep-current", "b", *where)
    assert (code, said["way-back"]) == (0, "b"), stderr
    wait_letter(vm, len(vm.console()))
