"""The store keeps one manifest a tag, whole or not at all, and lets one snapplan at a VM."""

import stat
import subprocess
import sys

import pytest
from attrs import evolve

from planner.errors import BadInput, Refused
from planner.host.files import write_whole
from planner.model.facts import QemuVersion
from planner.parts.internal import InternalSnapshot
from planner.parts.manifest import Manifest
from planner.store.store import Store, VmIdentity

PART = InternalSnapshot("disk0", file="/images/disk0.qcow2", snapshot_id="1")
MANIFEST = Manifest("a", "monolithic", "00", QemuVersion(7, 2, 22), "pc", (PART,))
VM = VmIdentity("", "guest", "/run/vm/qmp")


@pytest.fixture
def vm(tmp_path):
    return Store(tmp_path / "store").vm(VM)


def test_a_written_manifest_is_found_again(vm):
    """What was written is read, by tag and among all."""
    vm.write(MANIFEST)
    other = evolve(MANIFEST, tag="b/../c")
    vm.write(other)
    assert vm.manifest("a") == MANIFEST
    assert vm.manifest("b/../c") == other
    assert vm.manifest("c") is None
    assert vm.manifests().found == (MANIFEST, other)
    assert vm.manifests().of("b/../c") == other


def test_a_tag_has_one_manifest(vm):
    """A second manifest of a tag takes the first one's place."""
    vm.write(MANIFEST)
    vm.write(evolve(MANIFEST, design="transactional"))
    assert [each.design for each in vm.manifests().found] == ["transactional"]


def test_files_are_private(vm):
    """Nobody else reads what a guest's disks are called."""
    path = vm.write(MANIFEST)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in (path.parent, vm.folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff", b"[]", b'{"format": "snapplan-plan"}'])
def test_a_damaged_manifest_hides_no_other(vm, damage):
    """A file that is no manifest is told of, and the others are read."""
    vm.write(MANIFEST)
    path = vm.write(evolve(MANIFEST, tag="b"))
    path.write_bytes(damage)
    assert vm.manifests().found == (MANIFEST,)
    assert [problem.subject for problem in vm.manifests().problems] == [str(path)]
    with pytest.raises(BadInput):
        vm.manifest("b")


def test_a_file_that_was_never_finished_is_no_manifest(vm):
    """What a killed writer left under its temporary name is not looked at."""
    path = vm.write(MANIFEST)
    (path.parent / ".x.tmp").write_text("half")
    (path.parent / ".x.json").write_text("half")
    assert vm.manifests().problems == ()


def test_what_was_there_stays_when_writing_fails(vm, monkeypatch):
    """A full disk costs the new manifest, not the old one, and leaves no debris."""
    path = vm.write(MANIFEST)

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("planner.host.files.os.fsync", full)
    with pytest.raises(BadInput, match="No space left") as caught:
        vm.write(evolve(MANIFEST, design="transactional"))
    assert caught.value.code == "store-unwritable"
    assert vm.manifest("a") == MANIFEST
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_forgetting_is_idempotent(vm):
    """A manifest goes once; that it is gone already is no error."""
    vm.delete("a")
    vm.write(MANIFEST)
    vm.delete("a")
    vm.delete("a")
    assert vm.manifests().found == ()


def test_a_second_snapplan_is_refused(vm):
    """While one holds a VM's lock another process is told so; then it may."""
    code = (
        "import sys; from pathlib import Path; from planner.store.store import VmStore\n"
        "from planner.errors import Refused\n"
        "try:\n with VmStore(Path(sys.argv[1])).locked(): print('mine')\n"
        "except Refused as error: print(error.code, error.exit_code)\n"
    )

    def other():
        done = subprocess.run(
            [sys.executable, "-c", code, vm.folder], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    with vm.locked():
        assert other() == "vm-locked 10"
        with pytest.raises(Refused), vm.locked():
            pass
    assert other() == "mine"


def test_a_vm_is_known_by_what_lasts_longest():
    """Its UUID, else its name, else where its socket is; kinds never mix."""
    keys = [
        VmIdentity("u", "n", "/a").vm_key,
        VmIdentity("", "n", "/a").vm_key,
        VmIdentity("", "", "/a").vm_key,
        VmIdentity("", "u", "/a").vm_key,
        VmIdentity("", "", "/b").vm_key,
    ]
    assert len(set(keys)) == len(keys)
    assert VmIdentity("u", "n", "/a").vm_key == VmIdentity("u", "m", "/b").vm_key


def test_a_store_that_is_not_there_is_empty(tmp_path):
    """Nothing is made by looking."""
    store = Store(tmp_path / "none")
    assert store.vms() == ()
    assert store.vm(VM).manifests().found == ()
    assert not (tmp_path / "none").exists()
    store.vm(VM).write(MANIFEST)
    assert [vm.vm_key for vm in store.vms()] == [VM.vm_key]


def test_a_store_that_cannot_be_written_says_so(tmp_path):
    """A file in the place of the folder is a clear error, from the lock as from a write."""
    (tmp_path / "file").write_text("")
    vm = Store(tmp_path / "file").vm(VM)
    with pytest.raises(BadInput), vm.locked():
        pass
    with pytest.raises(BadInput):
        vm.write(MANIFEST)


def test_write_whole_replaces(tmp_path):
    """A file is replaced by another, not written over."""
    path = tmp_path / "x"
    write_whole(path, "one")
    before = path.stat().st_ino
    write_whole(path, "two")
    assert path.read_text() == "two"
    assert path.stat().st_ino != before
