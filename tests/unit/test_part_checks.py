"""What verify, load and delete find wrong with a snapshot, and what they let pass."""

import pytest
from attrs import evolve

from planner.delete.delete_checks import Overlays, plan_delete
from planner.errors import Refused
from planner.inspect.verifying import verify_images
from planner.load.ended_guest import Wanted
from planner.load.load_checks import load_problems, plan_load
from planner.load.load_failure import UNTOUCHED, read_failure
from planner.model.facts import Bitmap, ChainNode, JobInfo, QemuVersion
from planner.model.request import RunStateAfter
from planner.parts.disk_part import BackingImage
from planner.parts.overlay import FrozenImage
from planner.parts.part_image import images_of_vm
from planner.present.delete_view import delete_text
from tests.unit.build import held, qcow2
from tests.unit.snapshots import TAG, codes, images, manifest, snapshot_on, vm, with_disk

PART = held(TAG, "2", vm_clock_ns=7)
OTHER = held("other", "1", vm_clock_ns=5)


def verify(now, recorded=None):
    return codes(verify_images(recorded or manifest(), now, images_of_vm(now, {}), {}))


def load(now, recorded=None):
    return codes(load_problems(recorded or manifest(), now, images(now)))


def delete(now, recorded=None, others=(), overlays=None):
    try:
        plan_delete(recorded or manifest(), now, images(now), others, overlays)
    except Refused as refused:
        return codes(refused.problems)
    return set()


def test_a_whole_snapshot_passes_everything():
    """Nothing is found, and the orders name each part with its live node."""
    now = vm()
    assert verify(now) == load(now) == delete(now) == set()
    order = plan_load(manifest(), now, images(now))
    assert [(p.disk, p.snapshot_id) for p in order.parts] == [("disk0", "2"), ("disk1", "2")]
    assert (order.vmstate, order.run_state_before, order.run_state_after) == (
        "disk0",
        "running",
        "running",
    )


CHANGES = {
    "the part is gone": ({"snapshots": (OTHER,)}, "part-missing"),
    "its id is another's": ({"snapshots": (held("x", "2"),)}, "part-missing"),
    "it was made anew": ({"snapshots": (held(TAG, "3", vm_clock_ns=7),)}, "part-missing"),
    "two of the tag": ({"snapshots": (PART, held(TAG, "3"))}, "part-twice"),
    "another instant": ({"snapshots": (held(TAG, "2", vm_clock_ns=8),)}, "part-differs"),
    "other machine state": (
        {"snapshots": (held(TAG, "2", vm_clock_ns=7, vm_state_size_bytes=1),)},
        "part-differs",
    ),
    "another file": ({"filename": "/vm/else.qcow2"}, "part-file-differs"),
    "another format": ({"driver": "qed"}, "part-format-differs"),
    "another size": ({"virtual_size_bytes": 1}, "part-size-differs"),
    "another device": ({"qdev": "elsewhere"}, "device-differs"),
}


@pytest.mark.parametrize(("changes", "code"), CHANGES.values(), ids=CHANGES)
def test_each_change_of_a_disk_is_found(changes, code):
    """By verify and by load, with the disk that it is about."""
    now = with_disk(vm(), "disk1", **changes)
    assert (code, "disk1") in verify(now)
    assert (code, "disk1") in load(now)


def test_a_manifest_that_contradicts_itself_is_told():
    """A disk that has two parts, machine state that is there twice, no part at all."""
    first, second = manifest().parts

    def said(*parts):
        recorded = evolve(manifest(), parts=parts)
        found = verify_images(recorded, vm(), images_of_vm(vm(), {}), {})
        return {p.message for p in found if p.code == "manifest-inconsistent"}

    assert said(first, second) == set()
    assert said(first, second, second) == {"the manifest has two parts of this disk"}
    twice = evolve(second, vm_state_size_bytes=1)
    assert said(first, twice) == {"the manifest has the machine state twice"}
    assert said() == {"the manifest has no parts"}


def test_swapped_images_are_told_by_their_files():
    """Two disks with parts of equal ids and clocks exchanged their images: only the files tell."""
    one, two = vm().disks
    swapped = vm(evolve(one, filename=two.filename), evolve(two, filename=one.filename))
    assert {("part-file-differs", "disk0"), ("part-file-differs", "disk1")} <= verify(swapped)


VMS = {
    "machine": ({"machine": "q35"}, ("machine-differs", "vm")),
    "architecture": ({"target": "aarch64"}, ("machine-differs", "vm")),
    "another VM": ({"vm_uuid": "u"}, ("vm-differs", "vm")),
}


@pytest.mark.parametrize(("changes", "found"), VMS.values(), ids=VMS)
def test_each_change_of_the_machine_is_found(changes, found):
    """By verify and by load."""
    now = evolve(vm(), **changes)
    assert verify(now) == load(now) == {found}


def test_other_memory_is_found_where_it_was_saved_and_both_are_known():
    """A load into another amount of memory fails only after the disks were reverted."""
    large = evolve(vm(), memory_bytes=2**30)
    assert verify(large, manifest(memory_bytes=2**29)) == {("machine-differs", "vm")}
    assert verify(large, manifest(memory_bytes=2**30)) == set()
    assert verify(large, manifest()) == verify(vm(), manifest(memory_bytes=2**29)) == set()


def test_an_older_qemu_is_found_where_there_is_machine_state():
    """A newer QEMU may load what an older one saved; not the other way round."""
    newer = manifest(qemu=QemuVersion(10, 0, 0))
    assert verify(vm(), newer) == {("qemu-older", "vm")}
    assert verify(vm(), manifest(qemu=QemuVersion(6, 2, 0))) == set()


def test_a_missing_a_new_and_a_crept_in_disk_are_found():
    """A disk of the snapshot that is gone, one that is new, and one that has its tag."""
    assert ("part-disk-missing", "disk1") in verify(vm(snapshot_on("disk0")))
    three = vm(*vm().disks, qcow2("late"))
    assert verify(three) == load(three) == {("disk-not-in-snapshot", "late")}
    crept = vm(*vm().disks, snapshot_on("late"))
    assert verify(crept) == load(crept) == {("part-crept-in", "late")}
    excluded = manifest(excluded=("late",))
    assert verify(three, excluded) == set()
    assert verify(vm(*vm().disks, qcow2("iso", read_only=True))) == set()


STOPS = {
    "bitmap": ({"bitmaps": (Bitmap("b"),)}, "dirty-bitmap"),
    "bitmap of QEMU's own": ({"bitmaps": (Bitmap(""),)}, "dirty-bitmap"),
    "block job": ({"users": ("mirror",)}, "disk-busy"),
    "inactive": ({"active": False}, "node-inactive"),
    "read-only": ({"read_only": True}, "disk-read-only"),
    "the tag is an id": ({"snapshots": (PART, held("x", TAG))}, "tag-is-an-id"),
}


@pytest.mark.parametrize(("changes", "code"), STOPS.values(), ids=STOPS)
def test_each_thing_that_stops_a_load_is_found_before(changes, code):
    """On the last disk as well, when nothing is touched yet."""
    assert (code, "disk1") in load(with_disk(vm(), "disk1", **changes))


def test_all_problems_are_told_at_once():
    """Of every disk and of the VM, in one refusal."""
    now = with_disk(
        vm(jobs=(JobInfo("j", "snapshot-save", "running"),)), "disk0", users=("mirror",)
    )
    now = with_disk(now, "disk1", snapshots=())
    found = load(evolve(now, run_state="postmigrate", machine="q35"))
    assert {
        ("run-state-unsupported", "vm"),
        ("snapshot-job-active", "vm"),
        ("machine-differs", "vm"),
        ("disk-busy", "disk0"),
        ("part-missing", "disk1"),
    } <= found


@pytest.mark.parametrize("tag", ["2", "t" * 256, ""])
def test_a_tag_that_qemu_cannot_load_is_refused(tag):
    """Digits, too long, empty: whatever the disks hold."""
    assert {code for code, _ in load(vm(), manifest(tag=tag))} & {
        *("tag-all-digits", "tag-too-long", "tag-empty"),
    }


@pytest.mark.parametrize("state", ["restore-vm", "prelaunch", "paused"])
def test_a_stopped_vm_is_loaded_and_left_stopped_unless_told(state):
    """Also the one that somebody's failed load left behind."""
    now = evolve(vm(), run_state=state)
    order = plan_load(manifest(), now, images(now))
    assert (order.run_state_before, order.run_state_after) == ("paused", "paused")
    order = plan_load(manifest(), now, images(now), Wanted(RunStateAfter.RUNNING))
    assert order.run_state_after == "running"


def test_a_job_id_that_is_taken_is_not_used_again():
    """A concluded job of an earlier load may still be there (fact 1)."""
    first = plan_load(manifest(), vm(), images(vm())).job_id
    now = vm(jobs=(JobInfo(first, "snapshot-load", "concluded"),))
    assert plan_load(manifest(), now, images(now)).job_id == f"{first}-2"


def frozen_vm(top="/vm/o.qcow2"):
    """A VM whose disk1 lies under an overlay."""
    layer = ChainNode("disk1", "qcow2", "/vm/disk1.qcow2")
    disk = qcow2("disk1", node="snapplan-x", root="snapplan-x", filename=top, backing=(layer,))
    return vm(snapshot_on("disk0"), disk)


def frozen_part(**more):
    fields = {
        "disk": "disk1",
        "node": "disk1",
        "file": "/vm/disk1.qcow2",
        "format": "qcow2",
        "overlay": "snapplan-x",
        "overlay_file": "/vm/o.qcow2",
    }
    return FrozenImage(**(fields | more))


def test_a_part_under_an_overlay_cannot_be_loaded():
    """The image that holds it is not the one that the guest writes to."""
    assert ("part-under-overlay", "disk1") in load(frozen_vm())


def test_an_overlay_is_verified_by_its_chain():
    """The frozen image lies under its overlay, and is not written to."""
    whole = manifest(vm(snapshot_on("disk0")))
    recorded = evolve(whole, parts=(*whole.parts, frozen_part()), excluded=())
    recorded = evolve(recorded, devices=())
    assert verify(frozen_vm(), recorded) == set()
    assert verify(frozen_vm("/vm/else.qcow2"), recorded) == set(), "under a restore's overlay"
    elsewhere = vm(snapshot_on("disk0"), qcow2("disk1", filename="/vm/else.qcow2"))
    assert ("chain-differs", "disk1") in verify(elsewhere, recorded)
    merged = vm(snapshot_on("disk0"), qcow2("disk1"))
    assert ("part-overwritten", "disk1") in verify(merged, recorded)


def test_a_merge_says_what_qemu_is_started_on_from_then_on():
    """The overlay is gone, and a command line that names it starts nothing."""
    recorded = manifest(vm(snapshot_on("disk0")))
    recorded = evolve(recorded, parts=(*recorded.parts, frozen_part()))
    now = frozen_vm()
    merged, kept = (
        delete_text(plan_delete(recorded, now, images(now), (), each))
        for each in (Overlays.COMMIT, Overlays.KEEP)
    )
    assert "disk1: /vm/disk1.qcow2 (format=qcow2)\n    in place of /vm/o.qcow2" in merged
    assert "From now on" not in kept


def test_nothing_that_another_manifest_needs_is_deleted():
    """A snapshot that two manifests name, and an overlay that a later part lies in."""
    other = manifest(tag="b")
    needed = {("part-needed", "disk0"), ("part-needed", "disk1")}
    assert delete(vm(), others=(manifest(), other)) == needed
    recorded = manifest(vm(snapshot_on("disk0")))
    recorded = evolve(recorded, parts=(*recorded.parts, frozen_part()))
    later = manifest(tag="b", parts=(frozen_part(file="/vm/o.qcow2", overlay_file="/vm/p.qcow2"),))
    now = frozen_vm()
    assert delete(now, recorded, (later,), Overlays.COMMIT) == {("part-needed", "disk1")}
    assert delete(now, recorded, (later,), Overlays.KEEP) == set()
    assert delete(now, recorded, (), Overlays.COMMIT) == set()
    assert delete(now, recorded) == {("overlays-undecided", "disk1")}


def test_an_image_that_another_snapshot_has_frozen_too_is_not_merged_into():
    """Under an overlay of its own, or further down: a merge would change what it consists of."""
    recorded = manifest(vm(snapshot_on("disk0")))
    recorded = evolve(recorded, parts=(*recorded.parts, frozen_part()))
    base = frozen_part().file
    beside = frozen_part(overlay_file="/vm/other.qcow2")
    lying = BackingImage(base, "qcow2")
    above = frozen_part(file="/vm/r.qcow2", overlay_file="/vm/p.qcow2", backing=(lying,))
    for theirs in (beside, above):
        other = manifest(tag="b", parts=(theirs,))
        needed = delete(frozen_vm(), recorded, (other,), Overlays.COMMIT)
        assert needed == {("part-needed", "disk1")}
        assert delete(frozen_vm(), recorded, (other,), Overlays.KEEP) == set()


def test_a_part_that_is_gone_does_not_stop_a_delete_and_one_of_another_time_does():
    """The first is what an interrupted delete left; the second is somebody else's."""
    assert delete(with_disk(vm(), "disk1", snapshots=())) == set()
    foreign = with_disk(vm(), "disk1", snapshots=(held(TAG, "2", vm_clock_ns=8),))
    assert delete(foreign) == {("part-differs", "disk1")}
    inactive = with_disk(vm(), "disk1", active=False)
    assert delete(inactive) == {("node-inactive", "disk1")}


BOTH_LOST = (("disk0", "disk1"), (), True)


@pytest.mark.parametrize(
    ("words", "surely", "perhaps", "lost"),
    [
        ("Snapshot 'a' does not exist in one or more devices", (), (), False),
        ("Device 'disk1' is writable but does not support snapshots", (), (), False),
        ("This is a disk-only snapshot. Revert to it  offline using qemu-img", (), (), False),
        (
            "Could not load snapshot 'a' on 'disk0': Device has active dirty bitmaps",
            *((), (), False),
        ),
        (
            "Could not load snapshot 'a' on 'disk1': Device has active dirty bitmaps",
            *(("disk0",), (), False),
        ),
        ("Could not load snapshot 'a' on 'disk1': I/O error", ("disk0",), ("disk1",), False),
        ("Error -22 while loading VM state", ("disk0", "disk1"), (), True),
        ("error while loading state for instance 0x0 of device 'ram': ret: -22", *BOTH_LOST),
        ("Unknown section or instance 'apic' 1. Make sure that", *BOTH_LOST),
        ("words that nobody has seen yet", (), ("disk0", "disk1"), True),
        ("Could not load snapshot 'a' on 'who': I/O error", (), ("disk0", "disk1"), True),
    ],
)
def test_what_a_failed_load_has_done_is_read_at_its_worst(words, surely, perhaps, lost):
    """Only QEMU's own words say how far it came; unknown ones are taken for the worst."""
    order = plan_load(manifest(), vm(), images(vm()))
    found = read_failure(words, order)
    assert (found.surely, found.perhaps, found.machine_lost) == (surely, perhaps, lost)
    assert found.nothing == (found == UNTOUCHED)
