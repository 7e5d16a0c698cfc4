"""A deletion whose write fails: QEMU shows the snapshot no more, and the image has it (fact 140)."""

import pytest

from backends.qemu_facts.fact_140 import EVERY_WRITE_FAILS, topology
from tests.live.runs import as_json, snapplan
from tests.support.topology import DiskKind

pytestmark = pytest.mark.real_qemu
REQUEST = "tag: a\nmachine-state: none\ndisks: {disk0: internal}\n"


def test_it_is_not_called_deleted(qemu, tmp_path):
    """Delete fails and keeps the manifest; so does a second one, which looks into the image.

    Once the image was opened anew, another one finishes it.
    """
    vm = qemu.start(topology(DiskKind.QCOW2))
    vm.execute("cont")
    store = ("--store", tmp_path, "--vm", vm.qmp_path)
    assert snapplan("apply", "-", *store, text=REQUEST).returncode == 0
    vm.end()
    faulty = qemu.run(vm, topology(DiskKind.FAULTY, EVERY_WRITE_FAILS))
    faulty.execute("cont")
    failed = snapplan("delete", "a", "--yes", *store, "--json")
    problems = as_json(failed)["error"]["problems"]
    assert "part-left" in {each["code"] for each in problems}, failed.stdout
    assert "its image may still have it" in failed.stdout
    again = snapplan("delete", "a", "--yes", *store, "--json")
    problems = as_json(again)["error"]["problems"]
    assert [each["code"] for each in problems] == ["part-hidden"], again.stdout
    assert again.returncode == 10
    faulty.end()
    assert faulty.image_tags("disk0") == ["a"]
    again = qemu.run(faulty, topology(DiskKind.QCOW2))
    again.execute("cont")
    assert snapplan("delete", "a", "--yes", *store).returncode == 0
    again.end()
    assert again.image_tags("disk0") == []
