"""`verify` and `load` on a real QEMU with a guest that checks itself."""

import dataclasses
import itertools

import pytest

from tests.live.faults import assert_guest_unharmed, assert_images, start
from tests.live.idle import idle_qemu
from tests.live.runs import held
from tests.live.snapshots import act, save
from tests.support.guest import heartbeats, last_counter
from tests.support.images import qemu_img
from tests.support.qemu import qemu_img_binary, run_qemu
from tests.support.topology import DiskKind, two_disks

pytestmark = pytest.mark.real_qemu

BOTH = ["disk0", "disk1"]
HOLDS = {"disk0": ["a"], "disk1": ["a"]}


def went_back_to(vm):
    """The counter that the guest printed first after it went back in time; it went back just once."""
    counters = heartbeats(vm.console())
    pairs = itertools.pairwise(counters)
    (first,) = [later for earlier, later in pairs if later <= earlier]
    return first


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", [DiskKind.QCOW2, DiskKind.DRIVE, DiskKind.FILTERED])
def test_a_snapshot_verifies_and_loads(qemu, kind):
    """Saved, verified, loaded while the guest works: it goes on from the save, and all is sound."""
    vm = start(qemu, two_disks(kind, guest=True))
    disks = ["disk0", "disk1-format" if kind is DiskKind.FILTERED else "disk1"]
    before = vm.wait_guest(1)[-1]
    manifest = save(vm, "a", disks, "disk0")
    vm.wait_guest(4, since=len(vm.console()))
    code, verdict, _ = act("verify", manifest, vm)
    assert (code, verdict["whole"], verdict["parts"]) == (0, True, 2), verdict
    loaded_at = len(vm.console())
    code, said, stderr = act("load", manifest, vm)
    assert code == 0, stderr
    assert said["run-state"] == vm.status() == "running"
    vm.wait_guest(3, since=loaded_at)
    assert_guest_unharmed(vm)
    assert went_back_to(vm) >= before
    assert vm.execute("query-jobs") == []
    assert held(vm, HOLDS) == HOLDS
    assert_images(vm, HOLDS)
    code, verdict, _ = act("verify", manifest, None, "--deep")
    assert (code, verdict["findings"]) == (0, [])


@pytest.mark.parametrize("after", ["as-before", "running", "paused"])
@pytest.mark.parametrize("before", ["running", "paused"])
def test_run_state_after_a_load(qemu, before, after):
    """What the VM does afterwards is what was asked for, whatever it did before (fact 23)."""
    vm = start(qemu)
    manifest = save(vm, "a", BOTH, "disk0")
    if before == "paused":
        vm.execute("stop")
    code, said, stderr = act("load", manifest, vm, "--run-state-after", after)
    assert code == 0, stderr
    wanted = before if after == "as-before" else after
    assert said["run-state"] == vm.status()
    # A load that finds nothing has stopped the guest where `stop` would be wrong (fact 76).
    assert vm.status().replace("restore-vm", "paused") == wanted
    vm.execute("cont")
    assert_guest_unharmed(vm)


def counters(vm):
    """By disk, the counter that the guest wrote last, after `end`."""
    found = {}
    for disk in BOTH:
        raw = vm.directory / f"{disk}.now"
        qemu_img(qemu_img_binary(), "convert", "-O", "raw", vm.image(disk), raw)
        found[disk] = last_counter(raw.read_bytes())
    return found


def test_disks_alone_are_loaded_offline(qemu):
    """On a running VM it is refused with the very commands; offline each disk is reverted by id."""
    vm = start(qemu)
    manifest = save(vm, "a", BOTH)
    vm.wait_guest(3, since=len(vm.console()))
    code, said, _ = act("load", manifest, vm)
    assert (code, said["error"]["code"]) == (10, "disk-only")
    remedies = [problem["remedy"] for problem in said["error"]["problems"]]
    for disk in BOTH:
        assert f"end the VM, then: qemu-img snapshot -a1 -- {vm.image(disk)}" in remedies
    code, said, _ = act("load", manifest)
    assert (code, {p["code"] for p in said["error"]["problems"]}) == (10, {"image-in-use"})
    code, said, _ = act("verify", manifest)
    assert (code, said["error"]["code"]) == (10, "image-in-use")
    assert_guest_unharmed(vm)

    vm.end()
    kept = {disk: vm.counter_in_image(disk, "a") for disk in BOTH}
    assert all(counters(vm)[disk] > kept[disk] for disk in BOTH)
    for _ in range(2):
        code, said, stderr = act("load", manifest)
        assert code == 0, stderr
        assert counters(vm) == kept
    assert_images(vm, HOLDS)


def test_nothing_is_reverted_offline_when_one_image_is_in_use(qemu, tmp_path):
    """The second lies under another VM's disk, which reads it: the first is not touched."""
    vm = start(qemu)
    manifest = save(vm, "a", BOTH)
    vm.wait_guest(3, since=len(vm.console()))
    vm.end()
    clone = tmp_path / "clone.qcow2"
    backing = ("-b", vm.image("disk1"), "-F", "qcow2")
    qemu_img(qemu_img_binary(), "create", "-q", "-f", "qcow2", *backing, clone)
    before = counters(vm)
    with idle_qemu("-drive", f"file={clone},format=qcow2,if=virtio", folder=tmp_path):
        code, said, _ = act("load", manifest)
    assert (code, [p["code"] for p in said["error"]["problems"]]) == (10, ["image-in-use"])
    assert counters(vm) == before


def test_nothing_is_reverted_offline_when_one_part_is_missing(qemu):
    """The first disk is as good as it can be, and is not touched: the second lacks its part."""
    vm = start(qemu)
    manifest = save(vm, "a", BOTH)
    vm.wait_guest(3, since=len(vm.console()))
    vm.end()
    qemu_img(qemu_img_binary(), "snapshot", "-q", "-d", "a", vm.image("disk1"))
    before = counters(vm)
    code, said, _ = act("load", manifest)
    assert (code, [p["code"] for p in said["error"]["problems"]]) == (10, ["part-missing"])
    assert counters(vm) == before
    code, said, _ = act("verify", manifest)
    assert (code, [p["code"] for p in said["findings"]]) == (30, ["part-missing"])


def test_machine_state_is_not_loaded_offline(qemu):
    """Memory is loaded by a QEMU; to revert the disks alone would make a crashed guest of it."""
    vm = start(qemu)
    manifest = save(vm, "a", BOTH, "disk0")
    vm.end()
    code, said, _ = act("load", manifest)
    assert (code, [p["code"] for p in said["error"]["problems"]]) == (10, ["machine-state-online"])


def test_snapshot_is_loaded_by_a_fresh_qemu(qemu):
    """The VM ended; a new one, paused, loads the snapshot and goes on from it."""
    vm = start(qemu)
    manifest = save(vm, "a", BOTH, "disk0")
    vm.wait_guest(2, since=len(vm.console()))
    vm.end()
    with run_qemu(dataclasses.replace(vm.topology, paused=True), vm.directory) as fresh:
        code, said, stderr = act("load", manifest, fresh, "--run-state-after", "running")
        assert code == 0, stderr
        assert said["run-state"] == "running"
        fresh.wait_guest(3)
