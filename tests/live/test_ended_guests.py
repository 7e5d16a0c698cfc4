"""Back from a guest that has shut down, crashed or gone to sleep (fact 77)."""

import pytest

from tests.live.faults import assert_guest_unharmed
from tests.live.runs import request_text, snapplan
from tests.live.snapshots import act, save
from tests.support.ended import end_guest, that_can_end
from tests.support.topology import two_disks

pytestmark = pytest.mark.real_qemu

BOTH = ["disk0", "disk1"]
SLEEPS = pytest.mark.qemu_versions(since=(9, 0))


def ended(qemu, run_state):
    """The VM, and the manifest of its snapshot."""
    vm = qemu.start(that_can_end(two_disks(guest=True)))
    vm.wait_guest(1)
    manifest = save(vm, "a", BOTH, "disk0")
    end_guest(vm, run_state)
    return vm, manifest


@pytest.mark.parametrize(
    "run_state", ["shutdown", "guest-panicked", pytest.param("suspended", marks=SLEEPS)]
)
def test_it_goes_back_and_runs(qemu, run_state):
    """Nobody had stopped the guest, so as before is running."""
    vm, manifest = ended(qemu, run_state)
    since = len(vm.console())
    code, said, stderr = act("load", manifest, vm)
    assert code == 0, stderr
    assert said["run-state"] == vm.status() == "running"
    vm.wait_guest(2, since=since)
    assert "start" not in vm.console()[since:]
    assert_guest_unharmed(vm)


def test_a_crash_cannot_be_left_paused(qemu):
    """QEMU would still call it a crash: refused, and the way out is named."""
    vm, manifest = ended(qemu, "guest-panicked")
    code, said, _ = act("load", manifest, vm, "--run-state-after", "paused")
    (problem,) = said["error"]["problems"]
    assert (code, problem["code"]) == (10, "run-state-stays")
    assert "system_reset" in problem["remedy"]


@pytest.mark.parametrize(
    ("run_state", "way_out"),
    [
        ("suspended", "system_wakeup"),
        ("shutdown", "system_reset"),
        ("guest-panicked", "system_reset"),
    ],
)
def test_a_save_names_the_way_out(qemu, run_state, way_out):
    """Nothing is saved of such a guest, and nothing is sent."""
    vm, _ = ended(qemu, run_state)
    done = snapplan("apply", "-", "--vm", vm.qmp_path, text=request_text("b", BOTH, "disk0"))
    assert done.returncode == 10
    assert way_out in done.stderr
    assert vm.status() == run_state
