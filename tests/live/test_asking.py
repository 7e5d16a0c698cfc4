"""While a person is asked, the world goes on: what was agreed to is done, or nothing is."""

import pytest

from planner.model.manifest_text import read_manifest
from planner.store.store import Store, VmIdentity
from tests.live.faults import start
from tests.live.runs import SNAPPLAN, held, request_text, snapplan
from tests.live.snapshots import facts_of, save, save_external
from tests.support.images import qemu_img
from tests.support.qemu import qemu_img_binary
from tests.support.terminal import Terminal

pytestmark = pytest.mark.real_qemu

BOTH = ["disk0", "disk1"]
DELETE = "blockdev-snapshot-delete-internal-sync"


def made_again(vm, tag, *disks):
    """Another client takes a snapshot's parts away and makes others of the same tag."""
    for disk in disks:
        vm.execute(DELETE, device=disk, name=tag)
    vm.snapshot_disks(tag, *disks)


def test_a_snapshot_that_is_made_while_gc_asks_keeps_its_manifest(qemu, tmp_path):
    """The manifest that gc found empty is another one by the time of the answer."""
    vm = start(qemu)
    store = Store(tmp_path / "store")
    share = store.vm(VmIdentity.of(facts_of(vm), str(vm.qmp_path)))
    share.write(read_manifest(save(vm, "nightly", BOTH, "disk0").read_text()))
    for disk in BOTH:
        vm.execute(DELETE, device=disk, name="nightly")
    where = ["--vm", vm.qmp_path, "--store", store.root]
    with Terminal(SNAPPLAN, "gc", *where) as gc:
        gc.until("Remove what can be removed?")
        request = request_text("nightly", BOTH, "disk0")
        saved = snapplan("apply", "-", *where, text=request)
        assert saved.returncode == 0, f"a question locks nobody out: {saved.stderr}"
        assert gc.answer("y") == 10, gc.shown
    assert "[changed-while-asked]" in gc.shown
    assert snapplan("verify", "nightly", *where).returncode == 0


def test_a_snapshot_that_is_made_anew_while_delete_asks_is_not_deleted(qemu):
    """Nor is anything else, and the manifest stays."""
    vm = start(qemu)
    manifest = save(vm, "a", BOTH)
    with Terminal(SNAPPLAN, "delete", manifest, "--vm", vm.qmp_path) as delete:
        delete.until("Go on?")
        made_again(vm, "a", "disk1")
        assert delete.answer("y") == 10, delete.shown
    assert held(vm, BOTH) == {"disk0": ["a"], "disk1": ["a"]}
    assert manifest.exists()


def test_a_snapshot_that_is_made_anew_while_apply_asks_is_not_replaced(qemu, tmp_path):
    """It has the id and the tag of the one that was to go, and is of another instant."""
    vm = start(qemu)
    vm.snapshot_disks("a", *BOTH)
    request = tmp_path / "request"
    request.write_text(request_text("a", BOTH, existing_tag="replace"))
    with Terminal(SNAPPLAN, "apply", request, "--vm", vm.qmp_path) as apply:
        apply.until("Delete the existing snapshot")
        made_again(vm, "a", *BOTH)
        before = {disk: vm.snapshots(disk) for disk in BOTH}
        assert apply.answer("y") == 10, apply.shown
    assert "[changed-while-asked]" in apply.shown
    assert {disk: vm.snapshots(disk) for disk in BOTH} == before


@pytest.mark.parametrize("command", ["load", "delete"])
def test_an_image_that_is_written_while_it_is_asked_about_stays(qemu, tmp_path, command):
    """The VM was started and ended meanwhile: what it wrote is not what the answer gives up."""
    vm = start(qemu)
    overlay = tmp_path / "overlay.qcow2"
    manifest = save_external(vm, "a", ["disk0"], {"disk1": overlay})
    vm.end()
    more = ["--overlays", "commit"] if command == "delete" else []
    with Terminal(SNAPPLAN, command, manifest, "--offline", *more) as asked:
        asked.until("Go on?")
        qemu_img(qemu_img_binary(), "snapshot", "-c", "later", vm.image("disk0"))
        assert asked.answer("y") == 10, asked.shown
    assert "[changed-while-asked]" in asked.shown
    assert vm.image_tags("disk0") == ["a", "later"]
    assert overlay.exists()
    assert manifest.exists()
