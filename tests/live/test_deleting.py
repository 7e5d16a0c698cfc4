"""`delete` on a real QEMU: only the snapshot's own parts go, and its manifest goes last."""

import pytest

from tests.live.faults import assert_guest_unharmed, assert_images, start
from tests.live.runs import held
from tests.live.snapshots import act, save, save_external
from tests.support.fixtures import long
from tests.support.images import info
from tests.support.qemu import qemu_img_binary
from tests.support.topology import DiskKind, two_disks

pytestmark = pytest.mark.real_qemu

BOTH = ["disk0", "disk1"]
KEPT = {"disk0": ["before", "after"], "disk1": ["before", "after"]}


def three(qemu, *kinds):
    """A VM with the snapshot between two others."""
    vm = start(qemu, two_disks(*kinds, guest=True))
    disks = ["disk0", "disk1-format" if DiskKind.FILTERED in kinds else "disk1"]
    others = [save(vm, "before", disks, "disk0")]
    manifest = save(vm, "a", disks, "disk0")
    others.append(save(vm, "after", disks))
    return vm, manifest, others


@pytest.mark.parametrize("kind", [DiskKind.DRIVE, *long(DiskKind.QCOW2, DiskKind.FILTERED)])
def test_a_snapshot_is_deleted_while_the_guest_works(qemu, kind):
    """Its parts and its manifest are gone, the others are whole, the guest and the images sound."""
    vm, manifest, others = three(qemu, kind)
    asked, said, _ = act("delete", manifest, vm)
    assert (asked, said["error"]["code"]) == (2, "confirmation-missing")
    code, said, stderr = act("delete", manifest, vm, "--yes")
    assert code == 0, stderr
    assert said["deleted"][0]["disk"] == "disk0", "the machine state first"
    assert not manifest.exists()
    assert held(vm, BOTH) == KEPT
    for other in others:
        assert act("verify", other, vm)[0] == 0
    assert_guest_unharmed(vm)
    assert_images(vm, KEPT)


def test_a_delete_that_was_interrupted_is_finished(qemu):
    """A part is gone already: the rest goes, and that is said."""
    vm, manifest, _ = three(qemu)
    vm.execute("blockdev-snapshot-delete-internal-sync", device="disk0", name="a")
    assert act("verify", manifest, vm)[0] == 30
    code, said, stderr = act("delete", manifest, vm, "--yes")
    assert code == 0, stderr
    assert said["gone-already"] == ["disk0"]
    assert held(vm, BOTH) == KEPT


def test_a_snapshot_of_another_time_is_not_deleted(qemu):
    """Of the same tag and id, and made by somebody else: nothing is deleted, on no disk."""
    vm, manifest, _ = three(qemu)
    (part,) = [s for s in vm.snapshots("disk1") if s.tag == "a"]
    other = [s for s in vm.snapshots("disk1") if s.tag == "after"]
    for snapshot in (part, *other):
        vm.execute(
            "blockdev-snapshot-delete-internal-sync",
            device="disk1", id=snapshot.id, name=snapshot.tag,
        )  # fmt: skip
    vm.snapshot_disks("a", "disk1")
    assert [s.id for s in vm.snapshots("disk1")] == ["1", part.id]
    code, said, _ = act("delete", manifest, vm, "--yes")
    assert (code, [p["code"] for p in said["error"]["problems"]]) == (10, ["part-differs"])
    assert held(vm, BOTH) == {"disk0": ["before", "a", "after"], "disk1": ["before", "a"]}
    assert manifest.exists()


def test_a_snapshot_is_deleted_offline(qemu):
    """On the image files, once no VM has them open."""
    vm, manifest, others = three(qemu)
    code, said, _ = act("delete", manifest, None, "--yes")
    assert (code, said["error"]["code"]) == (10, "image-in-use")
    vm.end()
    code, said, stderr = act("delete", manifest, None, "--yes")
    assert code == 0, stderr
    assert not manifest.exists()
    for other in others:
        assert act("verify", other)[0] == 0
    assert_images(vm, KEPT)


def mixed(qemu, kind=DiskKind.QCOW2):
    """A VM with a snapshot whose disk1 is frozen under an overlay and whose memory is in a file."""
    vm = start(qemu, two_disks(kind, guest=True))
    overlay, state = vm.directory / "disk1.overlay", vm.directory / "state"
    disk1 = "disk1-format" if kind is DiskKind.FILTERED else "disk1"
    capture = f"{{external: {state}, capture: stopped}}"
    manifest = save_external(vm, "a", ["disk0"], {disk1: overlay}, capture)
    vm.wait_guest(2, since=len(vm.console()))
    return vm, manifest, overlay, state


@pytest.mark.parametrize("kind", [DiskKind.FILTERED, *long(DiskKind.QCOW2, DiskKind.RAW)])
def test_an_overlay_is_merged_back_while_the_guest_works(qemu, kind):
    """The chain is as it was, the files are gone, and the guest finds all that it wrote since."""
    vm, manifest, overlay, state = mixed(qemu, kind)
    assert act("verify", manifest, vm)[1]["findings"] == []
    undecided, said, _ = act("delete", manifest, vm, "--yes")
    assert (undecided, [p["code"] for p in said["error"]["problems"]]) == (
        10,
        ["overlays-undecided"],
    )
    code, _, stderr = act("delete", manifest, vm, "--yes", "--overlays", "commit")
    assert code == 0, stderr
    assert not overlay.exists()
    assert not state.exists()
    assert not manifest.exists()
    assert vm.execute("query-jobs") == []
    assert held(vm, ["disk0"]) == {"disk0": []}
    assert not [name for name in vm.nodes() if name.startswith("snapplan-")]
    assert_guest_unharmed(vm)
    vm.end()
    assert "backing-filename" not in info(qemu_img_binary(), vm.image("disk1"))


def test_an_overlay_is_kept(qemu):
    """The record and the memory go; the chain of images stays, and the guest goes on on it."""
    vm, manifest, overlay, state = mixed(qemu)
    code, said, stderr = act("delete", manifest, vm, "--yes", "--overlays", "keep")
    assert code == 0, stderr
    assert said["kept"] == ["disk1"]
    assert overlay.exists()
    assert not state.exists()
    assert_guest_unharmed(vm)


def test_an_overlay_is_merged_back_offline(qemu):
    """By qemu-img, once no VM has the images."""
    vm, manifest, overlay, state = mixed(qemu)
    vm.end()
    assert act("verify", manifest, None, "--deep")[1]["findings"] == []
    state.write_bytes(b"short")
    assert [p["code"] for p in act("verify", manifest)[1]["findings"]] == ["part-differs"]
    code, said, _ = act("delete", manifest, None, "--yes", "--overlays", "commit")
    assert (code, [p["code"] for p in said["error"]["problems"]]) == (10, ["stream-differs"])
    assert overlay.exists()
    state.unlink()  # somebody has looked what it is
    code, _, stderr = act("delete", manifest, None, "--yes", "--overlays", "commit")
    assert code == 0, stderr
    assert not overlay.exists()
    assert_images(vm, {"disk0": [], "disk1": []})
