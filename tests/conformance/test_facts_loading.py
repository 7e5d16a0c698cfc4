"""Facts 18 to 23: loading and deleting snapshots by jobs."""

import pytest

from tests.support.topology import DiskKind, DiskSpec, Topology, two_disks

# --- fact 18 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "devices"),
    [
        ("nothing", ["disk0", "disk1"]),
        ("a", ["disk0", "nowhere"]),
        ("a", ["disk0", "raw"]),
        ("a", ["disk0", "bare"]),
    ],
    ids=["no such tag", "missing node", "raw disk", "one disk without the tag"],
)
def test_fact_18_failed_load_leaves_a_running_vm_stopped(target, tag, devices):
    """Whatever makes a load fail, a VM that ran is stopped in `restore-vm`; `cont` resumes it."""
    disks = (
        *(DiskSpec("disk0"), DiskSpec("disk1")),
        *(DiskSpec("raw", DiskKind.RAW), DiskSpec("bare")),
    )
    vm = target.start(Topology(disks=disks))
    assert vm.save("a", ["disk0", "disk1"]) is None
    assert vm.load(tag, devices) is not None
    assert vm.status() == "restore-vm"
    vm.execute("cont")
    assert vm.status() == "running"


def test_fact_18_failed_load_leaves_a_stopped_vm_as_it_was(target):
    """A VM that was paused before a failed load is paused after it."""
    vm = target.start(two_disks())
    vm.execute("stop")
    assert vm.load("nothing", ["disk0"]) is not None
    assert vm.status() == "paused"


# --- fact 19 ------------------------------------------------------------------------------------


def test_fact_19_disk_with_the_tag_of_another_time_is_taken(target):
    """Load looks at the tag alone; the clocks would have told that the parts do not match."""
    vm = target.start(two_disks())
    assert vm.save("a", ["disk0"]) is None
    vm.snapshot_disks("a", "disk1")
    assert vm.snapshots("disk0")[0].vm_clock_ns < vm.snapshots("disk1")[0].vm_clock_ns
    assert vm.load("a", ["disk0", "disk1"]) is None


def test_fact_19_omitted_disk_is_not_noticed(target):
    """Load restores the nodes that are listed and says nothing of the others."""
    vm = target.start(two_disks())
    assert vm.save("a", ["disk0", "disk1"]) is None
    assert vm.load("a", ["disk0"]) is None
    assert vm.status() == "running"


# --- fact 20 ------------------------------------------------------------------------------------


@pytest.mark.real_qemu
def test_fact_20_failed_load_leaves_disks_of_two_instants(qemu):
    """A bitmap on disk1 fails the load when disk0 is reverted already, and `cont` is accepted."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(1)
    assert vm.save("a", ["disk0", "disk1"]) is None
    vm.wait_guest(4)
    vm.execute("stop")
    vm.execute("block-dirty-bitmap-add", node="disk1", name="bitmap", persistent=True)
    loaded_at = len(vm.console())
    assert vm.load("a", ["disk0", "disk1"]) is not None
    vm.execute("cont")
    assert vm.wait_guest_fails(since=loaded_at).startswith("FAIL d80 ")


# --- fact 21 ------------------------------------------------------------------------------------


def test_fact_21_disk_only_snapshot_cannot_be_loaded(target):
    """Without machine state in the vmstate node's snapshot QEMU points to qemu-img."""
    vm = target.start(two_disks())
    vm.snapshot_disks("a", "disk0", "disk1")
    words = vm.load("a", ["disk0", "disk1"])
    assert words == "This is a disk-only snapshot. Revert to it  offline using qemu-img"


def test_fact_21_no_command_reverts_a_disk(target):
    """The only commands about internal snapshots take, delete, save and load them."""
    vm = target.start(two_disks())
    names = {command["name"] for command in vm.execute("query-commands")}
    assert {name for name in names if "snapshot" in name and not name.startswith("x-")} == {
        *("blockdev-snapshot", "blockdev-snapshot-sync"),
        *("blockdev-snapshot-internal-sync", "blockdev-snapshot-delete-internal-sync"),
        *("snapshot-save", "snapshot-load", "snapshot-delete"),
    }


# --- fact 22 ------------------------------------------------------------------------------------


def test_fact_22_delete_of_a_tag_that_is_nowhere_succeeds(target):
    """snapshot-delete does not mind that there is nothing to delete."""
    vm = target.start(two_disks())
    assert vm.delete("nothing", ["disk0", "disk1"]) is None


def test_fact_22_delete_removes_one_of_two_per_call(target):
    """Of two snapshots of one tag each snapshot-delete takes one away, the first first."""
    vm = target.start(two_disks())
    assert vm.save("a", ["disk0", "disk0"]) is None
    (_first, second) = vm.snapshots("disk0")
    assert vm.delete("a", ["disk0"]) is None
    assert vm.snapshots("disk0") == [second]
    assert vm.delete("a", ["disk0"]) is None
    assert vm.snapshots("disk0") == []


def test_fact_22_blockdev_delete_takes_exactly_the_one_of_id_and_name(target):
    """With id and name given one snapshot is deleted, and QEMU says which."""
    vm = target.start(two_disks())
    assert vm.save("a", ["disk0", "disk0"]) is None
    (first, second) = vm.snapshots("disk0")
    deleted = vm.execute(
        "blockdev-snapshot-delete-internal-sync", device="disk0", id=second.id, name="a"
    )
    assert (deleted["id"], deleted["name"]) == (second.id, "a")
    assert vm.snapshots("disk0") == [first]
    words = vm.refusal(
        "blockdev-snapshot-delete-internal-sync", device="disk0", id=first.id, name="b"
    )
    assert "does not exist on device" in words
    assert vm.snapshots("disk0") == [first]


# --- fact 23 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("saved_running", [True, False], ids=["saved running", "saved stopped"])
@pytest.mark.parametrize("loaded_running", [True, False], ids=["loaded running", "loaded stopped"])
def test_fact_23_run_state_after_a_load_is_that_before_it(target, saved_running, loaded_running):
    """What was saved does not decide whether the VM runs; what it was before the load does."""
    vm = target.start(two_disks(paused=True))
    for running, act in ((saved_running, vm.save), (loaded_running, vm.load)):
        vm.execute("cont")
        if not running:
            vm.execute("stop")
        assert act("a", ["disk0", "disk1"]) is None
    assert vm.status() == ("running" if loaded_running else "paused")
