"""Back from a guest that has shut down, crashed, gone to sleep or met an error (facts 68, 77)."""

import asyncio

import pytest

from planner.load.ended_guest import Wanted
from planner.load.load_checks import plan_load
from planner.load.loading import LoadMachine
from planner.parts.manifest_text import read_manifest
from planner.parts.part_image import images_of_vm
from planner.run.phases import Phase
from planner.run.pump import Pump, ask_facts
from tests.live.faults import MeddlingBackend, assert_guest_unharmed
from tests.live.runs import request_text, snapplan
from tests.live.snapshots import act, save
from tests.support import guest
from tests.support.ended import (
    end_guest,
    fail_request,
    let_files_grow,
    that_can_end,
    with_failing_storage,
)
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
    ("run_state", "after"),
    [
        ("guest-panicked", "paused"),
        pytest.param("suspended", "running", marks=pytest.mark.qemu_versions(before=(9, 0))),
    ],
)
def test_a_reset_leads_out_where_it_is_allowed(qemu, run_state, after):
    """It is told, and the guest goes on from the snapshot."""
    vm, manifest = ended(qemu, run_state)
    since = len(vm.console())
    code, said, stderr = act("load", manifest, vm, "--run-state-after", after, "--reset")
    assert code == 0, stderr
    assert said["reset"] is True
    assert vm.execute("query-status")["running"] is (after == "running")
    if after == "paused":
        vm.execute("cont")
    vm.wait_guest(2, since=since)
    assert_guest_unharmed(vm)


def load_that_fails(vm, manifest):
    """A load whose snapshot somebody deletes just before QEMU is told; how it ended."""

    async def deletes(_backend):
        assert await asyncio.to_thread(vm.delete, "a", BOTH) is None

    async def work():
        backend = MeddlingBackend(str(vm.qmp_path), "snapshot-load", "before", deletes)
        await backend.connect(10.0)
        try:
            facts = await ask_facts(backend)
            recorded = read_manifest(manifest.read_text())
            order = plan_load(recorded, facts, images_of_vm(facts, {}), Wanted())
            return await Pump(LoadMachine.of(order), backend).run()
        finally:
            await backend.close()

    return asyncio.run(work())


@SLEEPS
def test_a_load_that_fails_leads_back_to_sleep(qemu):
    """Nothing was reverted: the guest sleeps as before, and wakes."""
    vm, manifest = ended(qemu, "suspended")
    outcome = load_that_fails(vm, manifest)
    assert (outcome.phase, outcome.run_state, outcome.left) == (Phase.UNDONE, "suspended", ())
    assert vm.status() == "suspended"
    vm.execute("system_wakeup")
    vm.wait_until(lambda: vm.status() == "running", "the guest awake")


def test_a_load_that_fails_after_a_reset_says_so(qemu):
    """Nothing leads back over a reset: the state is told, and what is lost."""
    vm, manifest = ended(qemu, "shutdown")
    outcome = load_that_fails(vm, manifest)
    assert outcome.phase is Phase.INCOMPLETE
    (left,) = outcome.left
    assert left.code == "guest-reset"
    assert outcome.run_state == vm.status()
    assert repr(vm.status()) in left.message


@pytest.mark.parametrize("device", ["virtio-blk-pci", "scsi-hd"])
def test_after_an_error_of_the_storage_it_goes_back_and_runs(qemu, device):
    """Nobody had stopped the guest; its request that failed is forgotten."""
    vm = qemu.start(with_failing_storage(device))
    vm.wait_guest(1)
    manifest = save(vm, "a", BOTH, "disk0")
    fail_request(vm, "b")
    let_files_grow(vm)
    since = len(vm.console())
    code, said, stderr = act("load", manifest, vm)
    assert code == 0, stderr
    assert said["run-state"] == vm.status() == "running"
    vm.wait_guest(2, since=since)
    assert_guest_unharmed(vm)


def test_ide_would_repeat_the_request_so_it_is_refused(qemu):
    """A reset does not help; what does is said, and is right."""
    vm = qemu.start(with_failing_storage("ide-hd"))
    vm.wait_guest(1)
    manifest = save(vm, "a", BOTH, "disk0")
    fail_request(vm, "b")
    for more in ((), ("--reset",)):
        code, said, _ = act("load", manifest, vm, *more)
        (problem,) = said["error"]["problems"]
        assert (code, problem["code"]) == (10, "request-kept")
    assert vm.status() == "io-error"
    let_files_grow(vm)
    asked_at = len(vm.console())
    vm.execute("cont")
    vm.qmp.wait_until(lambda: is_answered(vm.console()[asked_at:]), "an answer to the request")
    code, _, stderr = act("load", manifest, vm)
    assert code == 0, stderr
    loaded_at = len(vm.console())
    assert vm.status() == "running"
    vm.wait_guest(2, since=loaded_at)
    assert guest.failures(vm.console()[loaded_at:]) == []


def is_answered(said: str) -> bool:
    """The guest has its answer: it goes on, or its BIOS had waited too long by its own clock."""
    return bool(guest.heartbeats(said) or guest.failures(said.rpartition("\n")[0]))


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
