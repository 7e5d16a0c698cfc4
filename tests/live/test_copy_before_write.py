"""A copy-before-write filter: 7.2 keeps bitmaps without a name under it, and no load goes through."""

import json

import pytest

from tests.live.runs import as_json, request_text, snapplan
from tests.support.qemu import run_qemu
from tests.support.topology import DiskKind, DiskSpec, Topology

pytestmark = pytest.mark.real_qemu

FILTER = {
    "driver": "copy-before-write",
    "node-name": "filter",
    "file": "disk1",
    "target": "target",
}
DEVICE = ("-device", "virtio-blk-pci,drive={},id=disk1-device")


def topology(root):
    """disk1 under the filter, or without it; the target is there in both."""
    unattached = tuple(DiskSpec(name, DiskKind.UNATTACHED) for name in ("disk1", "target"))
    filters = ("-blockdev", json.dumps(FILTER)) if root == "filter" else ()
    device = tuple(word.format(root) for word in DEVICE)
    return Topology((DiskSpec("disk0"), *unattached), extra_args=(*filters, *device))


@pytest.mark.qemu_versions(before=(10, 0))
def test_it_is_said_before_and_the_way_out_is_right(qemu, tmp_path):
    """The plan warns; a load is refused, as QEMU would fail; without the filter it goes back."""
    vm = qemu.start(topology("filter"))
    where = ("--vm", vm.qmp_path, "--store", tmp_path)
    text = request_text("a", ["disk0", "disk1"], "disk0")
    saved = snapplan("apply", "-", *where, text=text)
    assert saved.returncode == 0, saved.stderr
    assert "dirty bitmap of QEMU's own" in saved.stdout + saved.stderr
    refused = as_json(snapplan("load", "a", *where, "--json"))
    (problem,) = refused["error"]["problems"]
    assert (problem["code"], problem["subject"]) == ("dirty-bitmap", "disk1")
    assert "start QEMU without the filter" in problem["remedy"]
    assert "active dirty bitmaps" in vm.load("a", ["disk0", "disk1"], "disk0")
    vm.end()
    with run_qemu(topology("disk1"), vm.directory) as again:
        loaded = snapplan("load", "a", "--vm", again.qmp_path, "--store", tmp_path, "--json")
        assert loaded.returncode == 0, loaded.stderr


@pytest.mark.qemu_versions(since=(10, 0))
def test_newer_ones_keep_none_and_are_loaded(qemu, tmp_path):
    """Nothing is refused that QEMU can do."""
    vm = qemu.start(topology("filter"))
    where = ("--vm", vm.qmp_path, "--store", tmp_path)
    saved = snapplan("apply", "-", *where, text=request_text("a", ["disk0", "disk1"], "disk0"))
    assert saved.returncode == 0, saved.stderr
    assert "dirty bitmap" not in saved.stdout + saved.stderr
    loaded = snapplan("load", "a", *where)
    assert loaded.returncode == 0, loaded.stderr
