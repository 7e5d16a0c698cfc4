"""Facts 111 to 113: `blockdev-backup` copies a disk as it was at one instant; its guest runs on."""

import pytest

from tests.support import guest, images
from tests.support.qemu import qemu_img_binary
from tests.support.topology import two_disks
from tests.support.vm import internal

pytestmark = pytest.mark.real_qemu

SLOW = 2**16
ENOSPC = {"event": "write_aio", "errno": 28, "once": False, "immediately": True}


def add_target(vm, rules=()):
    """Give QEMU a new image to copy to, as the node `copy`; its writes fail as the rules say."""
    path = vm.create_image("copy.qcow2")
    file = {"driver": "file", "filename": str(path)}
    if rules:
        file = {"driver": "blkdebug", "image": file, "inject-error": list(rules)}
    vm.execute("blockdev-add", {"driver": "qcow2", "node-name": "copy", "file": file})
    return path


def copying(vm, *actions, **more):
    """A guest that stands, and of which `disk0` begins to be copied; the mark of before."""
    vm.wait_guest(2)
    vm.execute("stop")
    mark = vm.qmp.mark()
    data = {"job-id": "copy", "device": "disk0", "target": "copy", "sync": "full"}
    data |= {
        "auto-dismiss": False,
        "speed": SLOW,
        **{k.replace("_", "-"): v for k, v in more.items()},
    }
    assert vm.transaction(*actions, ("blockdev-backup", data)) == {}
    return mark


def concluded(vm, mark):
    """Wait for the copy's end; what QEMU says of its job then."""
    vm.wait_event(
        "JOB_STATUS_CHANGE",
        lambda data: data == {"status": "concluded", "id": "copy"},
        since=mark,
        timeout_s=120,
    )
    [job] = vm.execute("query-jobs")
    return job


def test_fact_111_a_copy_is_of_the_instant_of_its_transaction(qemu):
    """The guest goes on while it is copied, and what it writes is not in the copy."""
    vm = qemu.start(two_disks(guest=True))
    path = add_target(vm)
    mark = copying(vm, internal("disk1", "a"))
    [job] = vm.execute("query-jobs")
    assert (job["status"], job["type"]) == ("running", "backup")
    at = len(vm.console())
    vm.execute("cont")
    vm.wait_guest(3, since=at)
    vm.execute("block-job-set-speed", device="copy", speed=0)
    assert "error" not in concluded(vm, mark)
    told = [e["data"]["status"] for e in vm.events[mark:] if e["event"] == "JOB_STATUS_CHANGE"]
    kept = [status for status in dict.fromkeys(told) if status != "paused"]
    assert kept == ["created", "running", "waiting", "pending", "concluded"]
    vm.execute("job-dismiss", id="copy")
    vm.end()
    raw = vm.directory / "raw"
    images.qemu_img(qemu_img_binary(), "convert", "-O", "raw", path, raw)
    copied = guest.last_counter(raw.read_bytes())
    # Of one round: the guest writes to disk0 before disk1.
    assert copied - vm.counter_in_image("disk1", "a") in (0, 1)


def test_fact_112_a_disk_that_is_copied_is_under_a_filter(qemu):
    """Nobody else gets at its node or at the copy's; the copy can be cancelled at any time."""
    vm = qemu.start(two_disks(guest=True))
    add_target(vm)
    mark = copying(vm)
    nodes = {block["inserted"]["drv"] for block in vm.execute("query-block")}
    assert nodes == {"copy-before-write", "qcow2"}
    snapshot = {"device": "disk0", "name": "a"}
    refused = vm.refusal("blockdev-snapshot-internal-sync", snapshot)
    assert refused == "Need a root block node"
    busy = "Node 'copy' is busy: block device is in use by block job: backup"
    assert vm.refusal("blockdev-del", {"node-name": "copy"}) == busy
    assert vm.execute("job-cancel", id="copy") == {}
    assert concluded(vm, mark)["error"] == "Operation canceled"
    vm.execute("job-dismiss", id="copy")
    assert vm.execute("blockdev-del", {"node-name": "copy"}) == {}
    assert vm.node_of("disk0") == "disk0"


def test_fact_113_a_copy_that_cannot_be_written_fails_the_guests_write(qemu):
    """The disk's own policy decides then: with `enospc`, the default, the guest is stopped."""
    vm = qemu.start(two_disks(guest=True))
    add_target(vm, [ENOSPC])
    mark = copying(vm)
    vm.execute("cont")
    vm.wait_event("BLOCK_IO_ERROR", lambda data: data["nospace"], since=mark, timeout_s=60)
    assert concluded(vm, mark)["error"] == "No space left on device"
    assert vm.status() == "io-error"
    at = len(vm.console())
    vm.execute("cont")  # the copy is over: the write is done again, and reaches the disk
    vm.wait_guest(2, since=at)


@pytest.mark.qemu_versions(since=(11, 0))
def test_fact_113_on_cbw_error_fails_the_copy_alone(qemu):
    """`break-snapshot` lets the guest's write through."""
    vm = qemu.start(two_disks(guest=True))
    add_target(vm, [ENOSPC])
    mark = copying(vm, on_cbw_error="break-snapshot")
    at = len(vm.console())
    vm.execute("cont")
    assert "error" in concluded(vm, mark)
    vm.wait_guest(2, since=at)
    assert "BLOCK_IO_ERROR" not in {event["event"] for event in vm.events[mark:]}
