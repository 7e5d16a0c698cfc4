"""Facts 120 to 123: what a qemu-storage-daemon is over QMP, and what its transactions do."""

import contextlib
import time

import pytest

from tests.support.outside import folder
from tests.support.qmp import QmpClient, QmpError
from tests.support.storage_daemon import DISKS, storage_daemon

pytestmark = pytest.mark.real_qemu

LACKING = (
    *("query-status", "query-migrate", "query-name", "query-uuid", "query-cpus-fast"),
    *("stop", "cont", "migrate", "snapshot-save", "snapshot-load", "snapshot-delete"),
    *("getfd", "add-fd", "query-fdsets"),
)
KNOWN = (
    *("query-block", "query-blockstats", "query-named-block-nodes", "x-debug-query-block-graph"),
    *("query-block-exports", "query-jobs", "query-block-jobs"),
)


def internal(device, tag):
    data = {"device": device, "name": tag}
    return {"type": "blockdev-snapshot-internal-sync", "data": data}


@pytest.fixture
def daemon():
    with folder() as where, storage_daemon(where, vhost=("disk1",)) as running:
        yield running


def test_fact_120_a_daemon_has_no_machine_and_no_run_state(daemon):
    """What concerns a guest is not there at all; what concerns images is."""
    with contextlib.closing(QmpClient(daemon.directory / "qmp")) as qmp:
        names = {each["name"] for each in qmp.execute("query-commands")}
        assert not names.intersection(LACKING)
        assert names.issuperset((*KNOWN, "transaction", "blockdev-add", "block-commit"))
        for command in ("query-status", "stop", "query-migrate"):
            with pytest.raises(QmpError, match="CommandNotFound"):
                qmp.execute(command)
        with pytest.raises(QmpError, match="DeviceNotFound"):
            qmp.execute("qom-get", path="/machine", property="type")


def test_fact_121_its_disks_show_as_exports_only(daemon):
    """`query-block` and `query-blockstats` are empty; asked for nodes, it leaves out backing images."""
    assert daemon.execute("query-block") == daemon.execute("query-blockstats") == []
    assert daemon.exported() == {f"{disk}-export": disk for disk in DISKS}
    overlay = daemon.overlay("data")
    stats = {s["node-name"]: s for s in daemon.execute("query-blockstats", query_nodes=True)}
    assert "backing" not in stats[overlay]
    graph = daemon.execute("x-debug-query-block-graph")
    names = {node["id"]: node["name"] for node in graph["nodes"]}
    edges = {(names[e["parent"]], e["name"], names[e["child"]]) for e in graph["edges"]}
    assert (overlay, "backing", "data") in edges


def test_fact_122_its_vm_clock_is_the_wall_clock(daemon):
    """So it tells nothing of one instant: it moves on between two disks of one transaction."""
    before_ns = time.time_ns()
    daemon.execute("transaction", actions=[internal("disk0", "a"), internal("disk1", "a")])
    after_ns = time.time_ns()
    clocks = daemon.clocks("a")
    assert len(clocks) == 2
    assert all(before_ns <= clock <= after_ns for clock in clocks.values())
    assert clocks["disk0"] != clocks["disk1"]


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
