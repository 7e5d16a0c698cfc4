"""Facts 123 and 134 to 137: a storage daemon, how its clients show it, and other storage outside."""

from pathlib import Path

import pytest

from planner.host.unix_sockets import connected_unix_sockets
from tests.support.images import create
from tests.support.outside import SHARED_MEMORY, folder
from tests.support.qemu import image_path, qemu_img_binary, run_qemu
from tests.support.qmp import QmpError
from tests.support.storage_daemon import VIRTIOFSD, storage_daemon, virtiofsd
from tests.support.topology import DiskSpec, Topology

pytestmark = pytest.mark.real_qemu


def internal(device, tag):
    data = {"device": device, "name": tag}
    return {"type": "blockdev-snapshot-internal-sync", "data": data}


@pytest.fixture
def daemon():
    with folder() as where, storage_daemon(where, vhost=("disk1",)) as running:
        yield running


def test_fact_123_an_export_follows_its_disk(daemon):
    """Onto an overlay in a transaction with snapshots, and back; one that fails leaves nothing."""
    daemon.client("data", "write -P 1 0 64k")
    daemon.execute("blockdev-snapshot-internal-sync", device="disk1", name="b")
    overlay = daemon.overlay("data", switch=False)
    switch = {"type": "blockdev-snapshot", "data": {"node": "data", "overlay": overlay}}
    with pytest.raises(QmpError):
        daemon.execute(
            "transaction", actions=[internal("disk0", "b"), switch, internal("disk1", "b")]
        )
    assert daemon.tags()["disk0"] == []
    assert daemon.exported()["data-export"] == "data"
    daemon.execute("transaction", actions=[internal("disk0", "a"), internal("disk1", "a"), switch])
    assert daemon.exported()["data-export"] == overlay
    daemon.client("data", "read -P 1 0 64k", "write -P 2 0 64k")
    daemon.commit(overlay, base="data")
    assert daemon.exported()["data-export"] == "data"
    daemon.client("data", "read -P 2 0 64k")


@pytest.fixture
def client(daemon):
    """A QEMU with a disk of the daemon's by vhost-user-blk, and one by NBD."""
    nbd = f"driver=nbd,node-name=remote,server.type=unix,server.path={daemon.nbd_path},export=data"
    extra = (
        *SHARED_MEMORY,
        *("-chardev", f"socket,id=served,path={daemon.vhost_path('disk1')}"),
        *("-device", "vhost-user-blk-pci,chardev=served,id=vud0", "-blockdev", nbd),
    )
    topology = Topology((DiskSpec("disk0"),), extra_args=extra)
    with folder() as where:
        create(qemu_img_binary(), image_path(where, topology.disks[0]), "qcow2", 2**20)
        with run_qemu(topology, where) as vm:
            yield vm


def test_fact_134_a_client_says_where_it_is_connected(daemon, client):
    """A chardev by its `addr`, where `query-chardev` of 7.2 has no path; an NBD node by its URI."""
    vm, path = client, str(daemon.vhost_path("disk1"))
    assert vm.execute("qom-get", path="/machine/peripheral/vud0", property="chardev") == "served"
    address = vm.execute("qom-get", path="/chardevs/served", property="addr")
    assert (address["type"], address["path"]) == ("unix", path)
    [shown] = [c["filename"] for c in vm.execute("query-chardev") if c["label"] == "served"]
    assert shown == (f"unix:{path}" if vm.version >= (8, 0) else "unix:")
    nodes = {n["node-name"]: n for n in vm.execute("query-named-block-nodes", flat=True)}
    assert nodes["remote"]["file"] == f"nbd+unix:///data?socket={daemon.nbd_path}"


def test_fact_135_the_kernel_knows_both_ends(daemon, client):
    """What the daemon accepted is bound to the export's socket, and its peer is a socket of QEMU's."""
    owned = {
        int(str(link.readlink())[len("socket:[") : -1])
        for link in Path(f"/proc/{client.process.pid}/fd").iterdir()
        if str(link.readlink()).startswith("socket:[")
    }
    found = {each.name for each in connected_unix_sockets() if each.peer in owned}
    assert {str(daemon.vhost_path("disk1")), str(daemon.nbd_path)} <= found


def test_fact_136_devices_that_store_in_a_file_of_their_own(tmp_path):
    """Their properties name the memory or the file; no node does. A load writes the variables' file."""
    memory = ("erst", 64 * 2**10), ("pmr", 2**20)
    extra = [
        word
        for name, size in memory
        for word in (
            "-object",
            f"memory-backend-file,id={name},size={size},mem-path={tmp_path / name},share=on",
        )
    ]
    extra += ["-device", "acpi-erst,memdev=erst,id=log"]
    extra += ["-device", "nvme,serial=a,pmrdev=pmr,id=nv"]
    topology = Topology((DiskSpec("disk0"),), extra_args=tuple(extra))
    with folder() as where:
        create(qemu_img_binary(), image_path(where, topology.disks[0]), "qcow2", 2**20)
        with run_qemu(topology, where) as vm:
            for device, name, uses in (("log", "memdev", "erst"), ("nv", "pmrdev", "pmr")):
                path = f"/machine/peripheral/{device}"
                assert vm.execute("qom-get", path=path, property=name) == f"/objects/{uses}"
            assert str(tmp_path) not in str(vm.execute("query-named-block-nodes"))
            version = vm.version
    if version < (10, 0):
        return
    file = tmp_path / "vars"
    words = ("-device", f"uefi-vars-x64,jsonfile={file},id=vars")
    with folder() as where:
        topology = Topology((DiskSpec("disk0"),), extra_args=words)
        create(qemu_img_binary(), image_path(where, topology.disks[0]), "qcow2", 2**24)
        with run_qemu(topology, where) as vm:
            path = "/machine/peripheral/vars"
            assert vm.execute("qom-get", path=path, property="jsonfile") == str(file)
            vm.execute("stop")
            assert vm.run_job("snapshot-save", tag="a", devices=["disk0"]) is None
            file.write_text("of later")
            assert vm.run_job("snapshot-load", tag="a", devices=["disk0"]) is None
            assert "variables" in file.read_text()


@pytest.mark.skipif(not VIRTIOFSD.exists(), reason="no virtiofsd of QEMU 7.2")
def test_fact_137_a_shared_folder_may_keep_its_state():
    """On 7.2 the device blocks migration; on later ones the save fails when it comes to it."""
    with folder() as where, virtiofsd(where) as socket:
        extra = (
            *SHARED_MEMORY,
            *("-chardev", f"socket,id=fs,path={socket}"),
            *("-device", "vhost-user-fs-pci,chardev=fs,tag=t"),
        )
        topology = Topology((DiskSpec("disk0"),), extra_args=extra)
        create(qemu_img_binary(), image_path(where, topology.disks[0]), "qcow2", 2**24)
        with run_qemu(topology, where) as vm:
            blocked = vm.execute("query-migrate").get("blocked-reasons", [])
            error = vm.run_job("snapshot-save", tag="a", devices=["disk0"])
            if vm.version < (8, 0):
                assert [reason for reason in blocked if "vhost-user-fs" in reason]
            else:
                assert blocked == []
                words = "Operation not supported", "pre-save failed: vhost-user-fs-backend"
                assert any(each in error for each in words)
