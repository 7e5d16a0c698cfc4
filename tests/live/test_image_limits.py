"""What an image or the machine cannot do, on a real QEMU: refused before anything is done."""

import os

import pytest

from tests.live.runs import as_json, request_text, snapplan
from tests.support.outside import disk_of_kind, encrypted_disk, memory_in
from tests.support.qmp import QmpError
from tests.support.topology import two_disks

pytestmark = pytest.mark.real_qemu


def problems(done):
    return {(p["code"], p["subject"]) for p in as_json(done)["error"]["problems"]}


def test_an_encrypted_disk_is_a_part_and_never_holds_machine_state(qemu, tmp_path):
    """By plan and by check it is refused; as a part beside a plain disk it is saved and loaded."""
    disks = ["secret0", "disk0", "disk1"]
    with encrypted_disk() as arguments:
        vm = qemu.start(two_disks(guest=True, extra_args=arguments))
        vm.wait_guest()
        store, at = ("--store", tmp_path / "store"), ("--vm", vm.qmp_path)
        text = request_text("a", disks, "secret0")
        refused = snapplan("plan", "-", *at, "--json", text=text)
        assert (refused.returncode, problems(refused)) == (10, {("vmstate-encrypted", "secret0")})
        facts = tmp_path / "facts"
        assert snapplan("inspect", *at, "--facts-out", facts).returncode == 0
        line = (
            '{"execute": "snapshot-save", "arguments": {"job-id": "j", "tag": "a", "vmstate": '
            '"secret0", "devices": ["secret0", "disk0", "disk1"]}}'
        )
        checked = snapplan("check", "-", "--facts", facts, text=line)
        assert checked.returncode == 30
        assert "vmstate-encrypted" in checked.stdout
        text = request_text("a", disks, "disk0")
        done = snapplan("apply", "-", *at, *store, text=text)
        assert done.returncode == 0, done.stderr
        loaded = snapplan("load", "a", *at, *store, "--yes")
        assert loaded.returncode == 0, loaded.stderr
        vm.wait_guest(2, since=len(vm.console()))


def test_an_image_without_room_is_refused(qemu):
    """One refcount bit: before, the job failed after the guest was stopped (fact 67)."""
    with disk_of_kind("refcount_bits=1", written=True) as (arguments, _):
        vm = qemu.start(two_disks(extra_args=arguments))
        mark = len(vm.events)
        text = request_text("a", ["disk0", "kind0"], "disk0")
        refused = snapplan("apply", "-", "--vm", vm.qmp_path, "--json", text=text)
        assert (refused.returncode, problems(refused)) == (10, {("snapshots-full", "kind0")})
        vm.qmp.drain()
        assert "STOP" not in {event["event"] for event in vm.events[mark:]}


def refuses(vm):
    """Whether QEMU itself refuses the capability; asked afterwards, since asking sets it."""
    capability = {"capability": "background-snapshot", "state": True}
    try:
        vm.execute("migrate-set-capabilities", capabilities=[capability])
    except QmpError:
        return True
    return False


def assert_plan_says_what_qemu_says(vm, folder):
    """`plan` refuses a background capture exactly where QEMU will, and a live one never."""
    found = {}
    for capture in ("background", "live"):
        state = f"machine-state: {{external: {folder / 'state'}, capture: {capture}}}"
        text = request_text("a", ["disk0", "disk1"]).replace("machine-state: none", state)
        found[capture] = snapplan("plan", "-", "--vm", vm.qmp_path, "--json", text=text)
    assert found["live"].returncode == 0
    if not refuses(vm):
        assert found["background"].returncode == 0
        return
    assert found["background"].returncode == 10
    assert {code for code, _ in problems(found["background"])} == {"write-tracking-impossible"}


@pytest.mark.qemu_versions(since=(10, 0))
@pytest.mark.parametrize("place", ["memfd", "shm", "disk"])
def test_background_needs_memory_that_can_be_tracked(qemu, tmp_path, place):
    """Memory that is mapped from a file on a disk is not (fact 63)."""
    with memory_in(place) as (arguments, _):
        vm = qemu.start(two_disks(extra_args=arguments))
        assert_plan_says_what_qemu_says(vm, tmp_path)


@pytest.mark.qemu_versions(since=(10, 0))
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its permissions")
def test_background_needs_a_permission_of_qemu_s_user(qemu, tmp_path):
    """Who listens at the socket tells which process, and /proc what it may (fact 63)."""
    vm = qemu.start(two_disks(extra_args=("-run-with", "user=nobody")))
    assert_plan_says_what_qemu_says(vm, tmp_path)
