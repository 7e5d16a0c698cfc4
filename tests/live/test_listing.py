"""`list` on a real QEMU says what `verify` says."""

import json

import pytest

from tests.live.faults import start
from tests.live.restores import request_of, save_external, store
from tests.live.runs import snapplan
from tests.support.topology import two_disks

pytestmark = pytest.mark.real_qemu

BOTH = ("disk0", "disk1")


def said(vm, *command):
    done = snapplan(*command, "--vm", vm.qmp_path, *store(vm))
    assert done.returncode in (0, 30), done.stderr
    return json.loads(done.stdout)


def listed(vm):
    """By tag; for each recorded one, what `verify` finds is what `list` does."""
    found = {each["tag"]: each for each in said(vm, "list")["snapshots"]}
    for tag, each in found.items():
        if each["standing"] != "foreign":
            verdict = said(vm, "verify", tag)
            assert each["findings"] == verdict["findings"]
            assert (each["standing"] == "complete") is verdict["whole"]
    return found


def test_list_says_what_verify_says(qemu):
    """A snapshot under another's overlays is whole; a frozen image that is written to again is not."""
    vm = start(qemu)
    save_external(vm, request_of("s0", dict.fromkeys(BOTH, "internal"), {"internal": "disk0"}))
    overlays = {disk: vm.directory / f"{disk}.overlay" for disk in BOTH}
    save_external(vm, request_of("e1", overlays, "none"))
    found = listed(vm)
    assert {tag: each["standing"] for tag, each in found.items()} == {
        "s0": "complete",
        "e1": "complete",
    }
    assert found["s0"]["finding"] == "one instant"
    assert [part["file"] for part in found["s0"]["parts"]] == [str(vm.image(d)) for d in BOTH]

    vm.end()
    again = qemu.run(vm, two_disks(guest=True))  # by its old command line, so not on the overlays
    found = listed(again)
    assert {tag: each["standing"] for tag, each in found.items()} == {
        "s0": "complete",
        "e1": "incomplete",
    }
    assert {each["code"] for each in found["e1"]["findings"]} >= {"part-overwritten"}
    again.execute("blockdev-snapshot-delete-internal-sync", device="disk1", name="s0")
    assert listed(again)["s0"]["standing"] == "incomplete"
