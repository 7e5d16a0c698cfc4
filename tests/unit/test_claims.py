"""Whose records a folder of the store holds."""

import os
import shutil

import attrs
import pytest
from attrs import evolve

from planner.host.processes import process_of
from planner.model.facts import ChainNode
from planner.store import claims
from planner.store.claims import read_claim
from planner.store.store import Store, VmIdentity
from tests.unit.build import facts, qcow2
from tests.unit.test_store import MANIFEST

HERE = process_of(os.getpid())
DEAD = evolve(HERE, started_ticks=1)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def vm_on(*paths, under=(), name="web", process=None, address="/run/qmp"):
    """A VM that writes to these files, the first over those of `under`."""
    for path in (*paths, *under):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    backing = tuple(ChainNode("", "qcow2", str(path)) for path in under)
    disks = [qcow2(f"disk{n}", filename=str(path)) for n, path in enumerate(paths)]
    disks[0] = evolve(disks[0], backing=backing)
    return VmIdentity.of(facts(*disks, vm_name=name), address, process)


def claim(store, identity):
    """As a run on that VM does."""
    vm = store.vm(identity)
    with vm.locked():
        vm.claim(identity)
    return vm


def test_two_vms_of_one_name_have_a_folder_each(store, tmp_path):
    one, two = vm_on(tmp_path / "a/disk"), vm_on(tmp_path / "b/disk")
    first, second = claim(store, one), claim(store, two)
    assert first.vm_key == one.vm_key
    assert second.vm_key.startswith(f"{one.vm_key}-")
    assert (store.vm(one), store.vm(two)) == (first, second)
    assert read_claim(first.folder) == one.claim


def test_a_vm_keeps_its_folder(store, tmp_path):
    """With a disk more, an overlay on it, another process, another socket; renamed, and moved."""
    disk, overlay = tmp_path / "a/disk", tmp_path / "a/overlay"
    first = claim(store, vm_on(disk, process=DEAD))
    assert store.vm(vm_on(disk, tmp_path / "more", process=HERE, address="/run/other")) == first
    assert store.vm(vm_on(overlay, under=[disk])) == first
    renamed = disk.rename(tmp_path / "a/renamed")
    assert store.vm(vm_on(renamed)) == first
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "a")
    assert store.vm(vm_on(tmp_path / "b/renamed")) == first


def test_a_mirrored_disk_is_known_by_its_process(store, tmp_path):
    """The images are others, and both are there; the QEMU is the same."""
    first = claim(store, vm_on(tmp_path / "a/disk", process=HERE))
    assert store.vm(vm_on(tmp_path / "b/disk", process=HERE)) == first
    assert store.vm(vm_on(tmp_path / "b/disk", process=DEAD)) != first


def test_a_restored_vm_is_the_vm_unless_that_lives(store, tmp_path):
    """It writes to new overlays over the images of before."""
    disk, overlay = tmp_path / "a/disk", tmp_path / "a/restored"
    restored = vm_on(overlay, under=[disk], process=HERE)
    first = claim(store, vm_on(disk, process=DEAD))
    assert store.vm(restored) == first
    first.claim(vm_on(disk, process=HERE))
    assert store.vm(restored) == first  # it is this process
    assert store.vm(evolve(restored, process=DEAD)) != first


def test_a_folder_of_before_is_known_by_its_records(store, tmp_path):
    """Its manifests name images; one with nothing in it may be anybody's."""
    disk, other = tmp_path / "a/disk", tmp_path / "b/disk"
    mine, another = vm_on(disk), vm_on(other)
    first = store.vm(mine)
    assert store.vm(another) == first
    [part, *_] = MANIFEST.parts
    first.write(evolve(MANIFEST, parts=(evolve(part, file=str(disk)),)))
    assert store.vm(mine) == first
    assert store.vm(another) != first


def test_a_vm_without_a_name_is_known_by_its_images(store, tmp_path):
    """Its sockets are several; another VM at one of them is another VM."""
    mine = vm_on(tmp_path / "a/disk", name="")
    first = claim(store, mine)
    assert store.vm(vm_on(tmp_path / "a/disk", name="", address="/run/other")) == first
    assert store.vm(vm_on(tmp_path / "b/disk", name="")) != first
    assert store.vm(vm_on(tmp_path / "b/disk", name="", address="/run/other")) != first


def test_a_clone_reads_what_it_was_made_of(store, tmp_path):
    disk, overlay = tmp_path / "a/disk", tmp_path / "a/restored"
    first = claim(store, vm_on(disk, process=HERE))
    [part, *_] = MANIFEST.parts
    manifest = evolve(MANIFEST, parts=(evolve(part, file=str(disk)),))
    first.write(manifest)
    clone = vm_on(overlay, under=[disk], process=DEAD)
    assert [each for _, each in store.inherited(clone, store.vm(clone))] == [manifest]
    stranger = vm_on(tmp_path / "b/disk", process=DEAD)
    assert store.inherited(stranger, store.vm(stranger)) == ()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "snapplan-vm"}', "[" * 100_000])
def test_a_damaged_claim_says_nothing(store, tmp_path, text):
    mine = vm_on(tmp_path / "a/disk")
    vm = claim(store, mine)
    (vm.folder / "vm.json").write_text(text)
    assert read_claim(vm.folder) is None
    assert store.vm(mine) == vm


def test_a_number_that_was_given_again_is_no_kinship(tmp_path):
    """A new image often gets the inode of one that was removed; when it was made tells them apart."""
    (tmp_path / "gone").touch()
    (old,) = [claims._image_file(str(tmp_path / "gone"))]
    assert old.born_ns
    moved = attrs.evolve(old, path=str(tmp_path / "moved"))
    reused = attrs.evolve(moved, born_ns=old.born_ns + 1)
    unknown = attrs.evolve(moved, born_ns=0)
    assert moved.is_same(old)
    assert not reused.is_same(old)
    assert not unknown.is_same(attrs.evolve(old, born_ns=0))


def test_a_vm_without_a_name_and_without_images_takes_nobodys_folder(store, tmp_path):
    """All its disks are a storage daemon's: it is known by its socket, or by its process."""
    theirs = claim(store, vm_on(tmp_path / "a/disk", name="", process=DEAD, address="/run/daemon"))
    bare = VmIdentity.of(facts(), "/run/vm", HERE)
    mine = store.vm(bare)
    assert mine != theirs
    assert claim(store, bare) == store.vm(bare) == mine
    assert store.vm(evolve(bare, address="/run/other")) == mine
