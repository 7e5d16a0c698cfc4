"""Images that cannot hold what is asked for, on a real QEMU: refused before anything is done."""

import pytest

from tests.live.runs import as_json, request_text, snapplan
from tests.support.outside import disk_of_kind, encrypted_disk
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
    """One refcount bit: before, the job failed after the guest was stopped (fact 62)."""
    with disk_of_kind("refcount_bits=1", written=True) as (arguments, _):
        vm = qemu.start(two_disks(extra_args=arguments))
        mark = len(vm.events)
        text = request_text("a", ["disk0", "kind0"], "disk0")
        refused = snapplan("apply", "-", "--vm", vm.qmp_path, "--json", text=text)
        assert (refused.returncode, problems(refused)) == (10, {("snapshots-full", "kind0")})
        vm.qmp.drain()
        assert "STOP" not in {event["event"] for event in vm.events[mark:]}
