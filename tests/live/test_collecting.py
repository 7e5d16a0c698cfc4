"""`gc` on a real QEMU: it says what it would do, and does it when told."""

import json
import os

import pytest

from planner.parts.manifest_text import read_manifest
from planner.store.store import Store, VmIdentity
from tests.live.faults import assert_guest_unharmed, start
from tests.live.runs import held, snapplan
from tests.live.snapshots import facts_of, save

pytestmark = pytest.mark.real_qemu

BOTH = ["disk0", "disk1"]


def collect(vm, store, *more):
    where = ["--vm", vm.qmp_path] if vm else []
    done = snapplan("gc", *where, "--store", store, "--json", *more)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["orphans"]
    return {(each["kind"], each["subject"]): each["removed"] for each in found}


def test_orphans_are_shown_first_and_removed_when_told(qemu, tmp_path):
    """An empty manifest, a measurement's snapshot, an old temporary file; a whole one is kept."""
    vm = start(qemu)
    store = Store(tmp_path / "store")
    share = store.vm(VmIdentity.of(facts_of(vm), str(vm.qmp_path)))
    for tag in ("kept", "emptied"):
        share.write(read_manifest(save(vm, tag, BOTH).read_text()))
    for disk in BOTH:
        vm.execute("blockdev-snapshot-delete-internal-sync", device=disk, name="emptied")
    vm.snapshot_disks("snapplan-compare-live", "disk1")
    vm.snapshot_disks("somebody's", "disk0")
    temporary = vm.directory / ".state.snapplan"
    temporary.touch()
    os.utime(temporary, (0, 0))

    removable = {
        ("manifest-empty", "emptied"),
        ("snapshot-measured", "disk1"),
        ("file-temporary", str(temporary)),
    }
    shown = ("snapshot-unrecorded", "disk0")
    assert collect(vm, store.root) == {**dict.fromkeys(removable, False), shown: False}
    assert temporary.exists()
    assert collect(vm, store.root, "--yes") == {**dict.fromkeys(removable, True), shown: False}
    assert collect(vm, store.root) == {shown: False}
    assert [each.tag for each in share.manifests().found] == ["kept"]
    assert held(vm, BOTH) == {"disk0": ["kept", "somebody's"], "disk1": ["kept"]}
    assert_guest_unharmed(vm)
    assert collect(None, store.root) == {}, "the VM has the images: nothing can be told"
    assert snapplan("verify", "kept", "--vm", vm.qmp_path, "--store", store.root).returncode == 0
    done = snapplan("delete", "kept", "--vm", vm.qmp_path, "--store", store.root, "--yes")
    assert done.returncode == 0, done.stderr
    assert share.manifests().found == ()
