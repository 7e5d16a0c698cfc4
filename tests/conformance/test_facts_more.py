"""Facts 44 on: what this project found by itself."""

import socket

import pytest

from tests.support.migration import migrate_to, set_capabilities, wait_migration
from tests.support.qmp import QmpClient
from tests.support.topology import DiskKind, DiskSpec, Topology, two_disks
from tests.support.vm import internal

# --- facts 44 and 45: filters -------------------------------------------------------------------


def test_fact_44_internal_sync_takes_a_filter_that_is_the_root(target):
    """Taken and deleted through the filter, the snapshot shows at the filter and at its child."""
    vm = target.start(two_disks(DiskKind.FILTERED))
    vm.transaction(internal("disk1", "a"))
    assert vm.snapshots("disk1") == vm.snapshots("disk1-format")
    (taken,) = vm.snapshots("disk1")
    vm.execute(
        "blockdev-snapshot-delete-internal-sync", device="disk1", id=taken.id, name=taken.tag
    )
    assert vm.snapshots("disk1") == vm.snapshots("disk1-format") == []


def test_fact_44_filter_can_be_the_vmstate_node(target):
    """The vmstate goes to the filter's child; a job that lists one and names the other fails."""
    vm = target.start(two_disks(DiskKind.FILTERED))
    assert vm.save("a", ["disk1", "disk0"], "disk1") is None
    assert vm.snapshots("disk1-format")[0].vm_state_size > 0
    words = vm.save("b", ["disk1", "disk0"], "disk1-format")
    assert words == "vmstate block device 'disk1-format' does not exist"


@pytest.mark.real_qemu
@pytest.mark.qemu_versions(since=(10, 0))
def test_fact_45_load_through_a_throttle_filter_aborts_qemu(qemu):
    """From 10 on snapshot-load of a throttle node, saved without a complaint, ends QEMU."""
    vm = qemu.start(two_disks(DiskKind.FILTERED))
    assert vm.save("a", ["disk0", "disk1"]) is None
    vm.qmp.send(
        "snapshot-load",
        {"job-id": "load", "tag": "a", "vmstate": "disk0", "devices": ["disk0", "disk1"]},
    )
    assert vm.wait_death() == -6, "SIGABRT"
    assert "throttle_drain_end: Assertion" in vm.stderr()


@pytest.mark.qemu_versions(before=(10, 0))
def test_fact_45_load_through_a_throttle_filter_works(target):
    """In 7.2 it loads."""
    vm = target.start(two_disks(DiskKind.FILTERED))
    assert vm.save("a", ["disk0", "disk1"]) is None
    assert vm.load("a", ["disk0", "disk1"]) is None


def test_fact_45_load_of_the_node_under_the_filter_works(target):
    """Whoever names the child is safe, even if the filter was named when it was saved."""
    vm = target.start(two_disks(DiskKind.FILTERED))
    assert vm.save("a", ["disk0", "disk1"]) is None
    assert vm.load("a", ["disk0", "disk1-format"]) is None
    assert vm.status() == "running"


# --- facts 46 to 48: how disks are shown --------------------------------------------------------


@pytest.mark.real_qemu
def test_fact_46_query_block_shows_pflash(qemu):
    """Firmware drives are in query-block, with the machine's own path and no drive id."""
    firmware = DiskSpec("vars", DiskKind.RAW, size_bytes=4 * 2**20, device="pflash")
    code = DiskSpec("code", DiskKind.RAW, size_bytes=4 * 2**20, device="pflash")
    vm = qemu.start(Topology(disks=(DiskSpec("disk0"), code, firmware), paused=True))
    shown = {block["inserted"]["node-name"]: block for block in vm.execute("query-block")}
    assert shown["code"]["qdev"] == "/machine/system.flash0"
    assert shown["vars"]["qdev"] == "/machine/system.flash1"
    assert shown["vars"]["device"] == ""
    assert vm.refused_transaction(internal("vars", "a")) == (
        "Block format 'raw' used by device 'vars' does not support internal snapshots"
    )


def test_fact_47_qdev_of_each_device(target):
    """Virtio shows its backend's path, SCSI and IDE their id, and only `-drive` a device name."""
    disks = (
        *(DiskSpec("virtio"), DiskSpec("scsi", device="scsi-hd"), DiskSpec("ide", device="ide-hd")),
        *(DiskSpec("drive", DiskKind.DRIVE), DiskSpec("free", DiskKind.UNATTACHED)),
    )
    vm = target.start(Topology(disks=disks))
    blocks = vm.execute("query-block")
    shown = {block["device"] or block["inserted"]["node-name"]: block["qdev"] for block in blocks}
    assert shown.pop("drive").startswith("/machine/peripheral-anon/device[")
    assert shown == {
        "virtio": "/machine/peripheral/virtio-device/virtio-backend",
        "scsi": "scsi-device",
        "ide": "ide-device",
    }


def test_fact_48_filter_in_blockstats_is_parent_and_backing(target):
    """The child of a node is its `parent` there; a filter's child is its `backing` as well."""
    vm = target.start(two_disks(DiskKind.FILTERED, DiskKind.BACKED))
    shown = {stats["node-name"]: stats for stats in vm.execute("query-blockstats")}
    assert shown["disk1"]["parent"]["node-name"] == "disk1-format"
    assert shown["disk1"]["backing"]["node-name"] == "disk1-format"
    assert shown["disk1"]["parent"]["parent"]["node-name"] == "disk1-file"
    assert "backing" not in shown["disk0"]
    assert shown["disk2"]["parent"]["node-name"] == "disk2-file"
    assert shown["disk2"]["backing"]["node-name"] == "disk2-backing"


def test_fact_48_block_graph_names_every_edge(target):
    """x-debug-query-block-graph gives nodes and named edges: filters without guessing."""
    vm = target.start(two_disks(DiskKind.FILTERED))
    graph = vm.execute("x-debug-query-block-graph")
    names = {node["id"]: node["name"] for node in graph["nodes"]}
    edges = {(names[e["parent"]], e["name"], names[e["child"]]) for e in graph["edges"]}
    assert ("disk1", "file", "disk1-format") in edges
    assert ("disk1-format", "file", "disk1-file") in edges
    assert ("/machine/peripheral/disk1-device/virtio-backend", "root", "disk1") in edges


# --- facts 49 to 51, and 58: the connection -----------------------------------------------------


def test_fact_49_stop_and_resume_are_told_before_the_reply(target):
    """When `stop` or `cont` is answered, its event has been sent already."""
    vm = target.start(two_disks())
    for command, event in (("stop", "STOP"), ("cont", "RESUME")):
        mark = len(vm.qmp.log)
        vm.execute(command)
        assert [message.get("event", "reply") for message in vm.qmp.log[mark:]] == [event, "reply"]


def test_fact_58_what_is_sent_behind_a_command_is_answered_behind_it(target):
    """Nobody waits for a reply here, and each question is answered as if somebody had."""
    vm = target.start(two_disks())
    for _ in range(10):
        mark = len(vm.qmp.log)
        ids = [vm.qmp.send(name) for name in ("stop", "query-status", "cont", "query-status")]
        assert vm.qmp.reply_to(ids[1])["status"] == "paused"
        assert vm.qmp.reply_to(ids[3])["status"] == "running"
        told = [message.get("event", message.get("id")) for message in vm.qmp.log[mark:]]
        assert told == ["STOP", *ids[:2], "RESUME", *ids[2:]]


@pytest.mark.real_qemu
def test_fact_50_second_client_waits_without_a_greeting(qemu):
    """A QMP socket serves one client; the next one connects, hears nothing, and is not refused."""
    vm = qemu.start(two_disks())
    with socket.socket(socket.AF_UNIX) as second:
        second.settimeout(0.2)
        second.connect(str(vm.qmp.path))
        with pytest.raises(TimeoutError):
            second.recv(1)
        vm.qmp.close()
        second.settimeout(30)
        assert b"QMP" in second.recv(4096)


@pytest.mark.real_qemu
def test_fact_51_save_whose_connection_is_cut_is_done_or_never_began(qemu):
    """Cut right after sending, a save is dropped or runs to its end; asked anew, QEMU tells."""
    vm = qemu.start(two_disks())
    for number in range(12):
        name = f"cut{number}"
        arguments = {"tag": name, "vmstate": "disk0", "devices": ["disk0", "disk1"]}
        cut = vm.connect()
        cut.send("snapshot-save", {"job-id": name, **arguments})
        cut.close()
        again = QmpClient(vm.qmp_path)
        began = name in {job["id"] for job in again.execute("query-jobs")}
        again.close()
        if began:
            assert vm.finish_job(name) is None
        assert vm.execute("query-jobs") == []
        assert (name in vm.tags("disk0")) == (name in vm.tags("disk1")) == began


# --- fact 52: tags ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tag", ["a/b", "two words", "ümläut-日本", 'a"b\\c', "new\nline", "%n", "-x", "a=b,c"]
)
def test_fact_52_any_text_is_a_tag(target, tag):
    """Slash, blank, quotes, control characters and non-ASCII pass job and transaction unchanged."""
    vm = target.start(two_disks())
    assert vm.save(tag, ["disk0", "disk1"]) is None
    assert vm.tags("disk0") == vm.tags("disk1") == [tag]
    assert vm.load(tag, ["disk0", "disk1"]) is None
    assert vm.delete(tag, ["disk0", "disk1"]) is None
    vm.snapshot_disks(tag, "disk0", "disk1")
    assert vm.tags("disk0") == vm.tags("disk1") == [tag]


@pytest.mark.real_qemu
def test_fact_52_qemu_img_knows_any_tag(qemu):
    """What QEMU wrote, qemu-img shows and reverts to by the same name."""
    vm = qemu.start(two_disks())
    tags = ["a/b", "two words", "ümläut-日本", "-x"]
    for tag in tags:
        vm.snapshot_disks(tag, "disk0")
    vm.end()
    assert vm.image_tags("disk0") == tags
    for tag in tags:
        vm.revert_image("disk0", tag)


# --- fact 53 ------------------------------------------------------------------------------------


def test_fact_53_bandwidth_below_ten_is_no_limit(target):
    """QEMU counts by tenths of a second: fewer than 10 bytes a second round down to no limit."""
    vm = target.start(two_disks())
    set_capabilities(vm)
    vm.execute("migrate-set-parameters", {"max-bandwidth": 9})
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "completed", since=mark)
