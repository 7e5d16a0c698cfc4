"""QEMU runs as another user than snapplan: everything is saved, undone and restored all the same."""

import functools
import os
from pathlib import Path

import pytest

from planner.compile.plan import compile_request
from planner.model.request_text import read_request
from planner.run.phases import Phase
from tests.live.external import DISKS, account_of, external_request, run_struck
from tests.live.faults import assert_guest_unharmed
from tests.live.restores import request_of, restored, save_external, store
from tests.live.runs import snapplan
from tests.live.snapshots import act, facts_of, save
from tests.support.qemu import file_mode
from tests.support.topology import DiskKind, DiskSpec, Topology, two_disks
from tests.support.user import NOBODY, as_nobody

pytestmark = pytest.mark.real_qemu

CAPTURES = ["stopped", "live"]  # background needs more rights than nobody has (fact 63)


def runs_as_nobody(vm):
    return Path(f"/proc/{vm.process.pid}").stat().st_uid == NOBODY


@pytest.mark.sample(1)
@pytest.mark.parametrize("capture", CAPTURES)
def test_external_parts_are_saved_and_restored(qemu, capture):
    """The stream is ours and private, the overlay QEMU's; a QEMU of the other user goes on from both."""
    vm = as_nobody(qemu, two_disks(DiskKind.RAW, guest=True))
    assert runs_as_nobody(vm)
    before = vm.wait_guest(1)[-1]
    stream, over = vm.directory / "state", vm.directory / "over.qcow2"
    state = {"external": str(stream), "capture": capture}
    manifest = save_external(vm, request_of("a", {"disk0": "internal", "disk1": over}, state))
    assert (file_mode(stream), stream.stat().st_uid) == (0o600, os.geteuid())
    assert over.stat().st_uid == NOBODY
    assert snapplan("verify", "a", "--vm", vm.qmp_path, *store(vm)).returncode == 0
    if vm.version >= (8, 2):
        vm.wait_until(lambda: vm.execute("query-fdsets") == [], "no descriptor is left with QEMU")
    later = vm.wait_guest(2, since=len(vm.console()))[-1]
    assert_guest_unharmed(vm)
    vm.end()
    with restored(vm, manifest, "--yes") as again:
        assert runs_as_nobody(again)
        counters = again.wait_guest(3)
        assert "start" not in again.console()
        assert before <= counters[0] <= later
        if again.version >= (8, 2):
            assert again.execute("query-fdsets") == []


@pytest.mark.parametrize("capture", ["stopped", pytest.param("live", marks=pytest.mark.long)])
def test_a_failure_leaves_nothing(qemu, capture):
    """Struck when QEMU has the descriptor, writes, and has written: no file, no set, guest as before."""
    disks = (*map(DiskSpec, DISKS), DiskSpec("vars0", DiskKind.RAW))
    vm = as_nobody(qemu, Topology(disks, guest=True))
    vm.wait_guest(1)
    text = external_request(vm, capture)
    before = (account_of(vm), vm.execute("query-fdsets"))
    program = planned(vm, text)
    passing = "add-fd" if vm.version >= (8, 2) else "getfd"
    for number, step in enumerate(program.steps, start=1):
        for how in (
            ("refused", "lost") if step.execute in (passing, "migrate", "keep-stream") else ()
        ):
            run = run_struck(vm, text, number, how)
            assert run.struck.struck, step.execute
            assert (run.outcome.phase, run.outcome.left) == (Phase.UNDONE, ()), run.outcome
            vm.wait_until(
                functools.partial(lambda vm: vm.execute("query-fdsets") == [], vm), "no set left"
            )
            assert (account_of(vm), vm.execute("query-fdsets")) == before, step.execute
    vm.wait_guest(2, since=len(vm.console()))
    assert run_struck(vm, text).outcome.phase is Phase.DONE, "and then it can be done"


def planned(vm, text):
    facts = facts_of(vm)
    return compile_request(read_request(text), facts).program


def test_internal_parts_are_saved_and_loaded(qemu):
    """In the images that QEMU has open: its user does not matter."""
    vm = as_nobody(qemu, two_disks(guest=True))
    before = vm.wait_guest(1)[-1]
    manifest = save(vm, "a", DISKS, "disk0")
    vm.wait_guest(3, since=len(vm.console()))
    loaded_at = len(vm.console())
    code, said, stderr = act("load", manifest, vm)
    assert code == 0, stderr
    assert said["run-state"] == "running"
    assert before <= vm.wait_guest(2, since=loaded_at)[0]
    assert_guest_unharmed(vm)


def test_internal_parts_are_restored_in_a_fresh_qemu(qemu):
    """`load --run`, whose QEMU gives up being root as the first one did."""
    vm = as_nobody(qemu, two_disks(guest=True))
    vm.wait_guest(1)
    manifest = save_external(
        vm, request_of("a", dict.fromkeys(DISKS, "internal"), {"internal": "disk0"})
    )
    vm.end()
    with restored(vm, manifest, "--yes") as again:
        assert runs_as_nobody(again)
        again.wait_guest(2)
        assert "start" not in again.console()
