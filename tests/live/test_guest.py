"""The guest that checks itself, and that it can be trusted.

All other live tests lean on it: they say that a snapshot is right because this guest, loaded from
it, goes on without a complaint. So here it is shown both ways: it does not complain of a whole
snapshot, and it does complain of a torn one.
"""

import itertools

import pytest

from tests.support import guest
from tests.support.topology import DiskKind, Topology, two_disks

pytestmark = pytest.mark.real_qemu


@pytest.mark.parametrize(
    "kind",
    [DiskKind.QCOW2, DiskKind.RAW, DiskKind.DRIVE, DiskKind.FILTERED],
    ids=lambda kind: kind.value,
)
def test_guest_makes_progress_on_every_kind_of_disk(qemu, kind):
    """The guest counts up, on a boot disk and a second disk of any kind."""
    vm = qemu.start(two_disks(kind, guest=True))
    counters = vm.wait_guest(3)
    assert counters[:3] == [rounds * guest.HEARTBEAT_ROUNDS for rounds in (1, 2, 3)]
    assert vm.console().startswith("start\n")


def test_guest_boots_from_a_disk_over_a_backing_file(qemu):
    """The boot sector may lie in the backing file of the boot disk."""
    disks = (two_disks().disks[0], two_disks(DiskKind.BACKED).disks[1])
    vm = qemu.start(Topology(disks=tuple(reversed(disks)), guest=True))
    vm.wait_guest(2)


@pytest.mark.parametrize("accelerator", ["tcg", "kvm:tcg"])
def test_whole_snapshot_satisfies_the_guest(qemu, accelerator):
    """Saved over both disks by one job and loaded again, the guest goes on where it was."""
    vm = qemu.start(two_disks(guest=True, accelerator=accelerator))
    before = vm.wait_guest(2)[-1]
    assert vm.save("whole", ["disk0", "disk1"]) is None
    later = vm.wait_guest(6)[-1]

    vm.execute("stop")
    loaded_at = len(vm.console())
    assert vm.load("whole", ["disk0", "disk1"]) is None
    vm.execute("cont")

    again = vm.wait_guest(4, since=loaded_at)
    assert before < again[0] <= later, "it went back in time, and no further than to the save"
    steps = {after - before for before, after in itertools.pairwise(again)}
    assert steps == {guest.HEARTBEAT_ROUNDS}, "it leaves nothing out"


def test_snapshot_of_a_stopped_guest_can_be_loaded_twice(qemu):
    """Loading does not use a snapshot up."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(2)
    vm.execute("stop")
    assert vm.save("whole", ["disk0", "disk1"]) is None
    for _ in range(2):
        loaded_at = len(vm.console())
        assert vm.load("whole", ["disk0", "disk1"]) is None
        vm.execute("cont")
        vm.wait_guest(2, since=loaded_at)
        vm.execute("stop")


@pytest.mark.parametrize("disks_saved_later", [["disk1"], ["disk1", "disk2"]])
def test_torn_snapshot_makes_the_guest_complain(qemu, disks_saved_later):
    """Disks captured after the guest ran on are found out: the detector works."""
    vm = qemu.start(two_disks(DiskKind.QCOW2, DiskKind.QCOW2, guest=True))
    vm.wait_guest(1)
    vm.execute("stop")
    in_time = [name for name in ("disk0", "disk1", "disk2") if name not in disks_saved_later]
    assert vm.save("torn", in_time, "disk0") is None
    vm.execute("cont")
    ran_on = len(vm.console())
    vm.wait_guest(1, since=ran_on)
    vm.execute("stop")
    vm.snapshot_disks("torn", *disks_saved_later)

    loaded_at = len(vm.console())
    assert vm.load("torn", ["disk0", "disk1", "disk2"]) is None
    vm.execute("cont")

    words = vm.wait_guest_fails(since=loaded_at).split()
    assert words[0] == "FAIL"
    assert words[1] in {f"d8{name[-1]}" for name in disks_saved_later}
    assert int(words[5], 16) > int(words[3], 16), "the disk is ahead of RAM"


def test_disk_left_behind_makes_the_guest_complain(qemu):
    """A disk omitted from the load keeps its later content, and is found out."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(1)
    assert vm.save("whole", ["disk0", "disk1"]) is None
    vm.wait_guest(3)
    vm.execute("stop")

    loaded_at = len(vm.console())
    assert vm.load("whole", ["disk0"]) is None
    vm.execute("cont")

    words = vm.wait_guest_fails(since=loaded_at).split()
    want, got = int(words[3], 16), int(words[5], 16)
    assert words[:2] == ["FAIL", "d81"]
    assert got > want, "the disk is ahead of RAM"


def test_guest_without_its_disk_is_heard(qemu):
    """A disk that cannot be written is an ERROR, not silence."""
    vm = qemu.start(two_disks(DiskKind.READ_ONLY, guest=True, guest_disks=("disk0", "disk1")))
    assert vm.wait_guest_fails() == "ERROR d81"


def test_console_reader_overlooks_lines_that_a_load_cut():
    """A counter cut in two by a load is no heartbeat."""
    assert guest.heartbeats("start\n00000040\n0000\n00000080\n0080\n") == [0x40, 0x80]
