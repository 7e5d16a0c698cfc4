"""Facts 24 to 28: `transaction`."""

import pytest

from tests.support.topology import DiskKind, two_disks
from tests.support.vm import action_list, internal

IN_EVERY_VERSION = {
    "abort",
    *(f"block-dirty-bitmap-{verb}" for verb in ("add", "remove", "clear", "enable", "disable")),
    "block-dirty-bitmap-merge",
    *("blockdev-backup", "drive-backup"),
    *("blockdev-snapshot", "blockdev-snapshot-internal-sync", "blockdev-snapshot-sync"),
}


def members(schema, name):
    """The members of an object that query-qmp-schema names, by their names."""
    return {member["name"]: member["type"] for member in schema[name]["members"]}


def action_types(vm):
    """What a transaction can hold, by what this QEMU says of itself."""
    schema = {entity["name"]: entity for entity in vm.execute("query-qmp-schema")}
    actions = members(schema, schema["transaction"]["arg-type"])["actions"]
    element = schema[schema[actions]["element-type"]]
    enumeration = next(m["type"] for m in element["members"] if m["name"] == element["tag"])
    return set(schema[enumeration]["values"])


# --- fact 24 ------------------------------------------------------------------------------------


def test_fact_24_what_a_transaction_can_hold(target):
    """The same actions in every version: no machine state, no stop, no cont, no migrate."""
    assert action_types(target.start(two_disks())) == IN_EVERY_VERSION


def test_fact_24_first_action_that_fails_is_the_one_reported(target):
    """Actions are prepared in order: the error is that of the first that cannot be done."""
    vm = target.start(two_disks(DiskKind.RAW))
    first = vm.refused_transaction(internal("nowhere", "a"), internal("disk1", "a"))
    assert "nowhere" in first
    second = vm.refused_transaction(internal("disk1", "a"), internal("nowhere", "a"))
    assert "disk1" in second


def test_fact_24_failing_action_undoes_those_before_it(target):
    """Nothing that was prepared is left when a later action fails."""
    vm = target.start(two_disks())
    words = vm.refused_transaction(internal("disk0", "a"), internal("disk1", "a"), ("abort", {}))
    assert words == "Transaction aborted using Abort action"
    assert vm.tags("disk0") == vm.tags("disk1") == []


@pytest.mark.real_qemu
def test_fact_24_transaction_is_one_cut_across_its_disks(qemu):
    """Disks captured while the guest writes are of one instant: no disk is ahead of another."""
    vm = qemu.start(two_disks(DiskKind.QCOW2, DiskKind.QCOW2, guest=True))
    vm.wait_guest(1)
    for number in range(8):
        vm.snapshot_disks(f"cut{number}", "disk0", "disk1", "disk2")
    assert vm.status() == "running"
    vm.end()
    for number in range(8):
        counters = [vm.counter_in_image(disk, f"cut{number}") for disk in ("disk0", "disk1")]
        counters.append(vm.counter_in_image("disk2", f"cut{number}"))
        assert counters == sorted(counters, reverse=True), "the guest writes in this order"
        assert counters[0] - counters[-1] <= 1


# --- fact 25 ------------------------------------------------------------------------------------


def test_fact_25_name_clash_fails_the_whole(target):
    """One disk that has the name already is enough, and nothing is left on the others."""
    vm = target.start(two_disks())
    vm.snapshot_disks("a", "disk1")
    words = vm.refused_transaction(internal("disk0", "a"), internal("disk1", "a"))
    assert words == "Snapshot with name 'a' already exists on device 'disk1'"
    assert vm.tags("disk0") == []
    assert vm.tags("disk1") == ["a"]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (
            DiskKind.RAW,
            "Block format 'raw' used by device 'disk1' does not support internal snapshots",
        ),
        (DiskKind.READ_ONLY, "Device 'disk1' is read only"),
    ],
    ids=["raw", "read-only"],
)
def test_fact_25_disk_that_cannot_fails_the_whole(target, kind, error):
    """Unlike the job a transaction says why, and nothing is left on the others."""
    vm = target.start(two_disks(kind))
    assert vm.refused_transaction(internal("disk0", "a"), internal("disk1", "a")) == error
    assert vm.tags("disk0") == []


# --- fact 26 ------------------------------------------------------------------------------------


def snapshot_sync(node, path):
    """The action that makes the overlay's file and attaches it, in one."""
    data = {"node-name": node, "snapshot-file": str(path), "snapshot-node-name": "over"}
    return "blockdev-snapshot-sync", {**data, "format": "qcow2"}


@pytest.mark.real_qemu
def test_fact_26_failed_snapshot_sync_leaves_its_file(qemu):
    """The overlay's file is made in prepare and stays when the transaction fails."""
    vm = qemu.start(two_disks())
    path = vm.directory / "over.qcow2"
    assert vm.refused_transaction(snapshot_sync("disk1", path), ("abort", {}))
    assert path.exists()
    assert vm.node_of("disk1") == "disk1"


@pytest.mark.real_qemu
def test_fact_26_snapshot_sync_overwrites_what_is_there(qemu):
    """A file that exists already is made anew without a word, even if the transaction fails."""
    vm = qemu.start(two_disks())
    path = vm.directory / "over.qcow2"
    path.write_bytes(b"something precious")
    assert vm.refused_transaction(snapshot_sync("disk1", path), ("abort", {}))
    assert path.read_bytes().startswith(b"QFI\xfb")


# --- facts 27 and 28 ----------------------------------------------------------------------------


def test_fact_27_grouped_completion_is_for_backups_only(target):
    """`completion-mode: grouped` refuses internal snapshots."""
    vm = target.start(two_disks())
    words = vm.refusal(
        "transaction",
        actions=action_list([internal("disk0", "a")]),
        properties={"completion-mode": "grouped"},
    )
    assert "completion-mode" in words
    assert "grouped" in words
    assert vm.tags("disk0") == []


def test_fact_28_block_job_stops_a_transaction_but_no_save(target):
    """While a mirror runs on a node its internal snapshot is refused, and snapshot-save is not."""
    vm = target.start(two_disks())
    vm.add_node("copy", "raw")
    vm.execute("blockdev-mirror", job_id="mirror", device="disk1", target="copy", sync="full")
    vm.wait_event("BLOCK_JOB_READY", lambda data: data["device"] == "mirror")
    assert vm.refused_transaction(internal("disk0", "a"), internal("disk1", "a"))
    assert vm.tags("disk0") == []
    assert vm.save("a", ["disk0", "disk1"]) is None
    vm.execute("block-job-cancel", device="mirror", force=True)
    vm.wait_event("BLOCK_JOB_CANCELLED", lambda data: data["device"] == "mirror")
    vm.snapshot_disks("b", "disk0", "disk1")
