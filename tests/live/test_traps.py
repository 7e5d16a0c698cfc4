"""QEMU's traps: each test lets QEMU do the harm, and shows that snapplan cannot be led into it."""

import asyncio

import pytest

from planner.inspect.verifying import ask_images
from planner.load.load_checks import plan_load
from planner.load.loading import LoadMachine
from planner.parts.manifest_text import read_manifest
from planner.parts.part_image import images_of_vm
from planner.run.phases import Phase
from planner.run.pump import Pump, ask_facts
from tests.live.faults import MeddlingBackend, assert_guest_unharmed, request, start
from tests.live.runs import as_json, held, request_text, snapplan
from tests.live.snapshots import act, record, save
from tests.support.guest import heartbeats
from tests.support.topology import DiskKind, DiskSpec, Topology

pytestmark = pytest.mark.real_qemu

BOTH = ["disk0", "disk1"]


def codes(said):
    """(code, subject) of each problem in the JSON of an error or of a verdict."""
    problems = said["findings"] if "findings" in said else said["error"]["problems"]
    return {(problem["code"], problem["subject"]) for problem in problems}


# --- the old, good snapshot is destroyed by a clash on some disks (fact 7) ------------------------


def test_clash_on_some_disks(qemu):
    """QEMU deletes the old snapshot and keeps the new half; snapplan refuses, and the old one loads."""
    disks = (DiskSpec("disk0"), DiskSpec("disk1"), DiskSpec("split", DiskKind.DATA_FILE))
    vm = start(qemu, Topology(disks, guest=True, guest_disks=("disk0", "disk1")))
    assert vm.save("a", ["disk0"]) is None
    (old,) = vm.snapshots("disk0")
    assert vm.save("a", ["disk0", "disk1", "split"], "disk0") is not None
    (left,) = vm.snapshots("disk0")
    assert left != old, "the old one is gone, and a half of the new one has its name"
    assert vm.delete("a", ["disk0"]) is None

    manifest = save(vm, "a", ["disk0"], "disk0")
    (old,) = vm.snapshots("disk0")
    refused = snapplan("apply", "-", "--vm", vm.qmp_path, "--json", text=request())
    assert refused.returncode == 10, refused.stderr
    assert ("tag-taken", "disk0") in codes(as_json(refused))
    assert vm.snapshots("disk0") == [old]
    assert act("verify", manifest, vm)[0] == 0


# --- the wrong snapshot is loaded, by its id (fact 9) ---------------------------------------------


def test_tag_that_is_an_id(qemu):
    """QEMU goes back to the snapshot whose id is the tag; snapplan refuses, and touches nothing."""
    vm = start(qemu)
    assert vm.save("2", BOTH) is None
    manifest = record(vm, "2", BOTH)
    since = vm.wait_guest(3, since=len(vm.console()))[-1]
    assert vm.save("other", BOTH) is None
    assert [snapshot.id for snapshot in vm.snapshots("disk0")] == ["1", "2"]
    loaded_at = len(vm.console())
    assert vm.load("2", BOTH) is None
    assert vm.wait_guest(1, since=loaded_at)[0] > since, "that is 'other', saved later"

    code, said, _ = act("load", manifest, vm)
    assert code == 10
    assert {("tag-all-digits", "tag"), ("tag-is-an-id", "disk0"), ("tag-is-an-id", "disk1")} <= (
        codes(said)
    )
    assert_guest_unharmed(vm)
    refused = snapplan("plan", "-", "--vm", vm.qmp_path, "--json", text=request_text("'2'", BOTH))
    assert refused.returncode == 2
    assert ("tag-all-digits", "tag") in codes(as_json(refused))


# --- a disk that crept in is loaded silently (fact 19) --------------------------------------------


def test_disk_of_another_time(qemu):
    """QEMU loads a part of another time and the guest breaks; snapplan tells it by its vm-clock."""
    vm = start(qemu)
    manifest = save(vm, "a", BOTH, "disk0")
    (part,) = vm.snapshots("disk1")
    vm.execute("blockdev-snapshot-delete-internal-sync", device="disk1", id=part.id, name="a")
    vm.wait_guest(3, since=len(vm.console()))
    vm.snapshot_disks("a", "disk1")
    assert vm.snapshots("disk1")[0].id == part.id, "even the id is the same"

    for command, exit_code in (("verify", 30), ("load", 10)):
        code, said, _ = act(command, manifest, vm)
        assert code == exit_code
        assert codes(said) == {("part-differs", "disk1")}
    assert_guest_unharmed(vm)

    loaded_at = len(vm.console())
    assert vm.load("a", BOTH) is None
    assert vm.wait_guest_fails(since=loaded_at).startswith("FAIL")


def test_disk_that_crept_in(qemu):
    """A disk that was never part of it has the tag: QEMU reverts it too; snapplan names it."""
    vm = start(qemu)
    manifest = save(vm, "a", ["disk0"], "disk0")
    vm.wait_guest(2, since=len(vm.console()))
    vm.snapshot_disks("a", "disk1")
    for command, exit_code in (("verify", 30), ("load", 10)):
        code, said, _ = act(command, manifest, vm)
        assert code == exit_code
        assert codes(said) == {("part-crept-in", "disk1")}
    assert_guest_unharmed(vm)
    loaded_at = len(vm.console())
    assert vm.load("a", BOTH) is None
    assert vm.wait_guest_fails(since=loaded_at).startswith("FAIL")


# --- the VM is left in restore-vm (facts 18 and 20) -----------------------------------------------


def test_left_in_restore_vm(qemu):
    """QEMU stops the guest, reverts a disk and gives up; snapplan refuses before it is stopped."""
    vm = start(qemu)
    manifest = save(vm, "a", BOTH, "disk0")
    vm.execute("block-dirty-bitmap-add", node="disk1", name="bitmap", persistent=True)
    mark = len(vm.events)
    code, said, _ = act("load", manifest, vm)
    assert (code, codes(said)) == (10, {("dirty-bitmap", "disk1")})
    vm.qmp.drain()
    assert "STOP" not in {event["event"] for event in vm.events[mark:]}
    assert_guest_unharmed(vm)

    assert vm.load("a", BOTH) is not None
    assert vm.status() == "restore-vm"
    vm.execute("block-dirty-bitmap-remove", node="disk1", name="bitmap")
    loaded_at = len(vm.console())
    code, said, stderr = act("load", manifest, vm, "--run-state-after", "running")
    assert code == 0, stderr
    assert vm.status() == "running"
    vm.wait_guest(3, since=loaded_at)


def meddled(vm, manifest, meddle):
    """Load while another client does something just before QEMU is told to."""

    async def work():
        link = MeddlingBackend(str(vm.qmp_path), "snapshot-load", "before", meddle)
        await link.connect(10.0)
        try:
            facts = await ask_facts(link)
            images = images_of_vm(facts, await ask_images(link))
            order = plan_load(manifest, facts, images)
            return await Pump(LoadMachine.of(order), link, images=link.images).run()
        finally:
            await link.close()

    return asyncio.run(work())


def test_part_that_goes_at_the_last_moment(qemu):
    """QEMU's load fails, and nothing was reverted: the guest runs as before, exit 20."""
    vm = start(qemu)
    manifest = read_manifest(save(vm, "a", BOTH, "disk0").read_text())

    async def meddle(_link):
        vm.execute("blockdev-snapshot-delete-internal-sync", device="disk1", name="a")

    outcome = meddled(vm, manifest, meddle)
    assert (outcome.phase, outcome.run_state) == (Phase.UNDONE, "running")
    assert "does not exist in one or more devices" in outcome.failure.message
    assert outcome.left == ()
    counters = heartbeats(vm.console())
    assert counters == sorted(counters), "it never went back"
    assert_guest_unharmed(vm)


def test_load_that_fails_part_way(qemu):
    """One disk is reverted and one is not: the guest is not let run, and each disk is named."""
    vm = start(qemu)
    manifest = read_manifest(save(vm, "a", BOTH, "disk0").read_text())

    async def meddle(_link):
        vm.execute("block-dirty-bitmap-add", node="disk1", name="bitmap")

    outcome = meddled(vm, manifest, meddle)
    assert (outcome.phase, outcome.run_state) == (Phase.INCOMPLETE, vm.status())
    assert vm.status() in {"paused", "restore-vm"}
    assert {(problem.code, problem.subject) for problem in outcome.left} == {
        ("disk-reverted", "disk0"),
        ("disk-not-reverted", "disk1"),
    }
    loaded_at = len(vm.console())
    vm.execute("cont")
    assert vm.wait_guest_fails(since=loaded_at).startswith("FAIL d80 "), "so the account is true"


# --- a tag that is cut cannot be loaded (fact 8) --------------------------------------------------


def test_tag_that_is_cut(qemu):
    """QEMU cuts the tag and then does not find it; snapplan takes no such tag."""
    vm = start(qemu)
    tag = "t" * 300
    assert vm.save(tag, BOTH) is None
    assert vm.tags("disk0") == [tag[:255]]
    assert "does not exist" in vm.load(tag, BOTH)
    assert vm.status() == "restore-vm"
    vm.execute("cont")
    refused = snapplan("apply", "-", "--vm", vm.qmp_path, "--json", text=request_text(tag, BOTH))
    assert refused.returncode == 2
    assert ("tag-too-long", "tag") in codes(as_json(refused))
    assert held(vm, BOTH) == {"disk0": [tag[:255]], "disk1": [tag[:255]]}
    assert_guest_unharmed(vm)
