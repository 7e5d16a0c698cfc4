"""What gc calls an orphan, and which of them it may remove."""

import os

from attrs import evolve

from planner.collect.stray_files import sweep
from planner.collect.unneeded import OrphanKind, find_orphans
from planner.parts.stream import StateStream
from tests.unit.build import held
from tests.unit.snapshots import TAG, images, manifest, vm, with_disk


def orphans(now, manifests=None, there=None):
    found = find_orphans(manifests or [manifest()], images(now), there or {}, now)
    return {(each.kind, each.subject): each.removable for each in found}


def test_a_whole_snapshot_is_no_orphan():
    """Its parts are recorded, and another snapshot is shown and left alone."""
    unrecorded = (OrphanKind.SNAPSHOT_UNRECORDED, "disk0")
    assert orphans(vm())[unrecorded] is False
    assert {kind for kind, _ in orphans(vm())} == {OrphanKind.SNAPSHOT_UNRECORDED}


def test_a_manifest_without_parts_may_go_and_one_with_some_may_not():
    """Only when every image could be looked at, and none holds its part."""
    bare = with_disk(with_disk(vm(), "disk0", snapshots=()), "disk1", snapshots=())
    assert orphans(bare) == {(OrphanKind.MANIFEST_EMPTY, TAG): True}
    half = with_disk(vm(), "disk1", snapshots=())
    assert orphans(half)[OrphanKind.MANIFEST_INCOMPLETE, TAG] is False
    gone = evolve(bare, disks=bare.disks[:1])
    assert orphans(gone) == {}, "the other image cannot be looked at"
    stream = StateStream(file="/vm/state")
    external = manifest(parts=(stream,))
    assert orphans(bare, [external]) == {}
    assert orphans(bare, [external], {"/vm/state": False}) == {
        (OrphanKind.MANIFEST_EMPTY, TAG): True
    }


def test_a_measurement_that_died_may_go():
    """Its tag is snapplan's own."""
    now = with_disk(vm(), "disk0", snapshots=(held("snapplan-compare-live", "9"),))
    assert orphans(now)[OrphanKind.SNAPSHOT_MEASURED, "disk0"] is True


def test_files_that_no_record_explains(tmp_path):
    """Old temporary files may go; streams and overlays are shown; what is known is left out."""
    (tmp_path / ".fresh.snapplan").touch()
    old = tmp_path / ".old.snapplan"
    old.touch()
    os.utime(old, (0, 0))
    (tmp_path / "state").write_bytes(b"QEVM\0\0")
    (tmp_path / "known").write_bytes(b"QEVM\0\0")
    (tmp_path / "notes.txt").write_text("mine")
    base = str(tmp_path / "disk0.qcow2").encode()
    header = b"QFI\xfb\0\0\0\3" + (32).to_bytes(8, "big") + len(base).to_bytes(4, "big")
    (tmp_path / "overlay").write_bytes(header.ljust(32, b"\0") + base)
    own = tmp_path / "store"
    own.mkdir()
    (own / ".x.tmp").touch()
    known = [base.decode(), str(tmp_path / "known")]
    found = {(each.kind, each.subject.rpartition("/")[2]): each.removable
             for each in sweep([tmp_path], known, [own])}  # fmt: skip
    assert found == {
        (OrphanKind.FILE_TEMPORARY, ".old.snapplan"): True,
        (OrphanKind.FILE_TEMPORARY, ".x.tmp"): True,
        (OrphanKind.FILE_UNRECORDED, "state"): False,
        (OrphanKind.FILE_UNRECORDED, "overlay"): False,
    }
