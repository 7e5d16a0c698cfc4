"""Snapshots that others made get a manifest, after the checks that are possible; on a real QEMU."""

import asyncio
import json

import pytest
import snapplan as library

from tests.live.faults import assert_guest_unharmed, start
from tests.live.runs import held, snapplan
from tests.live.test_loading import went_back_to
from tests.support.images import qemu_img
from tests.support.qemu import qemu_img_binary
from tests.support.topology import DiskKind, two_disks

pytestmark = pytest.mark.real_qemu

BOTH = ["disk0", "disk1"]


def monitor(vm, line):
    """What QEMU's own monitor answers; nothing where all went well."""
    return vm.execute("human-monitor-command", **{"command-line": line})


@pytest.fixture
def say(tmp_path):
    """Runs a command with a store of the test's own; exit code and JSON."""

    def command(vm, *words):
        done = snapplan(*words, "--vm", vm.qmp_path, "--store", tmp_path / "store", "--json")
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout)

    return command


def codes(answer):
    return [problem["code"] for problem in answer["error"]["problems"]]


def test_a_savevm_is_adopted_loaded_and_deleted(qemu, say):
    """QEMU's monitor made it; before it is recorded each command says that, and how it is done."""
    vm = start(qemu)
    before = vm.wait_guest(1)[-1]
    assert not monitor(vm, "savevm suspend")
    for command in (["load"], ["verify"], ["delete", "--yes"]):
        code, refused = say(vm, *command, "suspend")
        assert (code, codes(refused)) == (2, ["snapshot-foreign"])
        assert "snapplan adopt suspend" in refused["error"]["problems"][0]["remedy"]
    code, adopted = say(vm, "adopt", "suspend")
    assert code == 0
    assert [part["disk"] for part in adopted["parts"]] == BOTH
    assert sum(part["state"] for part in adopted["parts"]) == 1
    assert any("machine" in what for what in adopted["unproved"])
    code, verdict = say(vm, "verify", "suspend")
    assert (code, verdict["whole"]) == (0, True)
    assert set(adopted["unproved"]) <= set(verdict["unchecked"])
    assert say(vm, "list")[1]["snapshots"][0]["standing"] == "complete"
    vm.wait_guest(4, since=len(vm.console()))
    loaded_at = len(vm.console())
    assert say(vm, "load", "suspend")[0] == 0
    vm.wait_guest(3, since=loaded_at)
    assert_guest_unharmed(vm)
    assert went_back_to(vm) >= before
    code, refused = say(vm, "adopt", "suspend")
    assert (code, codes(refused)) == (10, ["tag-taken"])
    assert say(vm, "delete", "suspend", "--yes")[0] == 0
    assert held(vm, BOTH) == {"disk0": [], "disk1": []}


@pytest.mark.long
def test_what_is_no_snapshot_of_one_instant_is_not_adopted(qemu, say):
    """Another client made its parts one after the other while the guest ran, or one of them only."""
    vm = start(qemu)
    vm.execute("blockdev-snapshot-internal-sync", device="disk0", name="a")
    code, refused = say(vm, "adopt", "a")
    assert (code, codes(refused)) == (10, ["part-missing"])
    assert "--exclude disk1" in refused["error"]["problems"][0]["remedy"]
    vm.execute("blockdev-snapshot-internal-sync", device="disk1", name="a")
    code, refused = say(vm, "adopt", "a")
    assert (code, codes(refused)) == (10, ["parts-differ"])
    code, refused = say(vm, "adopt", "b")
    assert (code, codes(refused)) == (2, ["snapshot-unknown"])
    code, refused = say(vm, "adopt", "a", "--exclude", "x")
    assert (code, codes(refused)) == (2, ["disk-unknown"])
    assert not monitor(vm, "savevm 7")
    assert codes(say(vm, "adopt", "7")[1]) == ["tag-all-digits"]
    assert held(vm, BOTH) == {"disk0": ["a", "7"], "disk1": ["a", "7"]}


def test_a_disk_that_is_no_part_is_left_out_by_name(qemu, say):
    """A raw disk holds no snapshot: it is left out by name only, and what it held is not known."""
    vm = start(qemu, two_disks(DiskKind.RAW, guest=True))
    vm.execute("blockdev-snapshot-internal-sync", device="disk0", name="a")
    code, refused = say(vm, "adopt", "a")
    assert (code, codes(refused)) == (10, ["part-missing"])
    code, adopted = say(vm, "adopt", "a", "--exclude", "disk1")
    assert (code, adopted["excluded"]) == (0, ["disk1"])
    assert any("disk1" in what for what in adopted["unproved"])


def test_what_qemu_img_made_is_adopted_by_the_library(qemu, tmp_path):
    """The VM was off: no clock proves one instant, and that is said."""
    vm = start(qemu)
    vm.end()
    for disk in BOTH:
        qemu_img(qemu_img_binary(), "snapshot", "-c", "fresh", vm.image(disk))
    again = qemu.run(vm, two_disks(guest=True))

    async def work():
        async with library.attach(again.qmp_path, store=tmp_path / "store") as attached:
            return await attached.adopt("fresh")

    snapshot = asyncio.run(work())
    assert snapshot.standing is library.Standing.COMPLETE
    assert not snapshot.has_machine_state
    assert any("one instant" in what for what in snapshot.manifest.unproved)
