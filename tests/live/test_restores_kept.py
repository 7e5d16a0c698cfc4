"""After a restore everything can be cleaned up: it is listed, promoted, merged or dropped."""

import contextlib
import json
import subprocess

import pytest

from tests.live.faults import assert_guest_unharmed
from tests.live.restores import request_of, restored, save_external, store, template
from tests.live.runs import snapplan
from tests.support import guest
from tests.support.images import qemu_img
from tests.support.qemu import qemu_img_binary
from tests.support.topology import DiskKind, DiskSpec, Topology

pytestmark = pytest.mark.real_qemu

COMMIT = ("--overlays", "commit", "--yes")


class Kept:
    """A VM with two disks (`-drive` and `-blockdev`), saved with external parts once for each tag."""

    def __init__(self, qemu, *tags, disks=None):
        disks = disks or (DiskSpec("disk0", DiskKind.DRIVE), DiskSpec("disk1", DiskKind.RAW))
        self.names = [spec.name for spec in disks]
        self.vm = qemu.start(Topology(disks=disks, guest=True))
        self.folder = self.vm.directory
        self.vm.wait_guest(1)
        self.manifests = {tag: self.save(self.vm, tag) for tag in tags}

    def save(self, vm, tag):
        parts = {name: self.overlay(name, tag) for name in self.names}
        state = {"external": str(self.folder / tag), "capture": "stopped"}
        manifest = save_external(vm, request_of(tag, parts, state))
        vm.wait_guest(3, since=len(vm.console()))
        return manifest

    def overlay(self, disk, tag):
        return self.folder / f"{disk}.{tag}.qcow2"

    def run(self, *words, code=0):
        """One command; what it says as JSON, or of its error the codes by subject."""
        done = snapplan(*words, *store(self.vm))
        assert done.returncode == code, (done.stdout, done.stderr)
        said = json.loads(done.stdout)
        return said if not code else {(p["code"], p["subject"]) for p in said["error"]["problems"]}

    def images(self):
        """The images that are there, and the files of machine state."""
        tags = {self.folder / tag for tag in self.manifests}
        return sorted(
            path.name for path in self.folder.iterdir() if path.suffix == ".qcow2" or path in tags
        )

    def stray(self, *where):
        return [each["subject"] for each in self.run("gc", *where)["orphans"]]

    def counter(self, image, image_format):
        raw = self.folder / "as-raw"
        qemu_img(*(qemu_img_binary(), "convert", "-U", "-f", image_format, "-O", "raw", image, raw))
        return guest.last_counter(raw.read_bytes())


def test_a_restored_vm_gets_back_to_one_image_while_it_runs(qemu):
    """Refused while the disk of before is there, which is named; then promoted, dropped and merged."""
    kept = Kept(qemu, "a")
    kept.vm.end()
    with restored(kept.vm, kept.manifests["a"], *store(kept.vm)[:2]) as again:
        where = ("--vm", again.qmp_path)
        again.wait_guest(3)
        (shown,) = kept.run("list", *where)["restores"]
        assert (shown["name"], shown["runs"]) == ("a.restored-1", True)
        assert shown["pid"] == again.process.pid
        assert kept.stray(*where) == []
        needed = {("part-needed", disk) for disk in kept.names}
        assert kept.run("delete", "a", *where, *COMMIT, code=10) == needed
        assert ("restore-running", "a.restored-1") in kept.run(
            "restore", "drop", "a.restored-1", "--yes", code=10
        )
        said = kept.run("restore", "promote", "a.restored-1")
        assert {each["disk"]: each["file"] for each in said["start-with"]} == {
            disk: str(kept.overlay(disk, "a.restored-1")) for disk in kept.names
        }
        assert kept.run("verify", "a", *where)["findings"] == []
        assert kept.run("restore", "drop", "a.restored-1", code=2) == {
            ("confirmation-missing", "a.restored-1")
        }
        kept.run("restore", "drop", "a.restored-1", "--yes")
        assert not any(kept.overlay(disk, "a").exists() for disk in kept.names)
        kept.run("delete", "a", *where, *COMMIT)
        assert kept.images() == ["disk0.qcow2"]
        assert kept.run("restore", "list")["restores"] == []
        assert kept.stray(*where) == []
        again.wait_guest(3, since=len(again.console()))
        assert_guest_unharmed(again)
        newest = guest.heartbeats(again.console())[-1]
        assert kept.counter(kept.vm.image("disk0"), "qcow2") >= newest - 1


@pytest.mark.long
def test_the_overlay_that_runs_is_merged_without_a_word_where_nothing_else_lies_there(qemu):
    """The disk of before is gone already: to delete the snapshot promotes and merges in one."""
    kept = Kept(qemu, "a")
    kept.vm.end()
    with restored(kept.vm, kept.manifests["a"], *store(kept.vm)[:2]) as again:
        again.wait_guest(3)
        for disk in kept.names:
            kept.overlay(disk, "a").unlink()
        kept.run("delete", "a", "--vm", again.qmp_path, *COMMIT)
        assert kept.images() == ["disk0.qcow2"]
        assert kept.run("restore", "list")["restores"] == []
        again.wait_guest(3, since=len(again.console()))
        assert_guest_unharmed(again)


@pytest.mark.long
def test_restores_that_have_ended_are_dropped_or_merged_offline(qemu):
    """Two of them: one is the VM's disk and is merged by qemu-img, the other goes."""
    kept = Kept(qemu, "a")
    kept.vm.end()
    newest = {}
    for number in (1, 2):
        with restored(kept.vm, kept.manifests["a"], *store(kept.vm)[:2]) as again:
            again.wait_guest(3)
            newest[number] = guest.heartbeats(again.console())[-1]
    kept.run("load", "a", "--offline")
    left = {f"a.restored-{number}" for number in (1, 2, 3)}
    assert set(kept.stray()) == left
    assert len(kept.run("delete", "a", "--offline", *COMMIT, code=10)) == 2
    kept.run("restore", "promote", "a.restored-2")
    for number in (1, 2, 3):
        kept.run("restore", "drop", f"a.restored-{number}", "--yes")
    kept.run("delete", "a", "--offline", *COMMIT)
    assert kept.images() == ["disk0.qcow2"]
    assert kept.stray() == []
    assert kept.counter(kept.vm.image("disk1"), "raw") >= newest[2] - 1


@pytest.mark.long
def test_what_a_later_snapshot_needs_is_not_dropped(qemu):
    """Back to the middle of a chain: the later one keeps its bases until it is deleted itself."""
    disks = (DiskSpec("disk0", DiskKind.DRIVE), DiskSpec("disk1", DiskKind.DRIVE))
    kept = Kept(qemu, "a", "b", "c", disks=disks)
    kept.vm.end()
    with restored(kept.vm, kept.manifests["b"], *store(kept.vm)[:2]) as again:
        where = ("--vm", again.qmp_path)
        again.wait_guest(3)
        kept.run("restore", "promote", "b.restored-1")
        refused = kept.run("restore", "drop", "b.restored-1", "--yes", code=10)
        assert refused == {("part-needed", disk) for disk in kept.names}
        kept.manifests["d"] = kept.save(again, "d")
        assert {
            each["tag"]: each["standing"] for each in kept.run("list", *where)["snapshots"]
        } == dict.fromkeys("abcd", "complete")
        kept.run("delete", "c", "--offline", *COMMIT)
        kept.run("restore", "drop", "b.restored-1", "--yes")
        for tag in ("d", "b", "a"):
            kept.run("delete", tag, *where, *COMMIT)
        assert kept.images() == ["disk0.qcow2", "disk1.qcow2"]
        assert kept.stray(*where) == []
        again.wait_guest(3, since=len(again.console()))
        assert_guest_unharmed(again)


@pytest.mark.long
def test_promoted_twice_the_vm_is_on_its_disk_of_before(qemu):
    """Nothing is lost: the VM starts on either, and the snapshot stays whole."""
    kept = Kept(qemu, "a")
    kept.vm.end()
    before = {disk: kept.overlay(disk, "a").read_bytes() for disk in kept.names}
    kept.run("load", "a", "--offline")
    for disk in ("a.restored-1", "a"):
        said = kept.run("restore", "promote", "a.restored-1")
        assert said["start-with"][0]["file"] == str(kept.overlay("disk0", disk))
        assert kept.run("verify", "a", "--offline")["findings"] == []
    assert {disk: kept.overlay(disk, "a").read_bytes() for disk in kept.names} == before
    kept.run("restore", "drop", "a.restored-1", "--yes")
    kept.run("delete", "a", "--offline", *COMMIT)
    assert kept.images() == ["disk0.qcow2"]


@pytest.mark.long
def test_a_clone_over_a_restore_keeps_it(qemu):
    """Somebody has put an image over it, or has it open: it is not dropped."""
    kept = Kept(qemu, "a")
    kept.vm.end()
    kept.run("load", "a", "--offline")
    made = kept.overlay("disk0", "a.restored-1")
    clone = kept.folder / "clone.qcow2"
    create = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", made, clone]
    subprocess.run([qemu_img_binary(), *map(str, create)], check=True)
    drop = ("restore", "drop", "a.restored-1", "--yes")
    assert kept.run(*drop, code=10) == {("part-needed", "disk0")}
    assert kept.overlay("disk1", "a.restored-1").exists(), "refused before anything is removed"
    clone.unlink()
    kept.run(*drop)
    assert not made.exists()


def test_a_restore_that_failed_leaves_no_record(qemu):
    """QEMU does not come up: its files are taken back, and nothing is listed."""
    kept = Kept(qemu, "a")
    kept.vm.end()
    words = template(kept.vm, kept.manifests["a"]) + " -no-such-option"
    there = kept.images()
    kept.run("load", "a", "--run", words, "--qmp", kept.folder / "tool", code=20)
    assert kept.images() == there
    assert kept.run("restore", "list")["restores"] == []
    with contextlib.suppress(FileNotFoundError):
        assert list((kept.folder / "store").rglob("restores/*.json")) == []
