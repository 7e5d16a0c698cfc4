"""A part is known by its image, whatever QEMU and its user call it now, on a real QEMU."""

import os
import shutil

import pytest

from tests.live.own_lines import codes
from tests.live.runs import as_json, request_text

pytestmark = pytest.mark.real_qemu


def as_libvirt(number, path, device="virtio-disk0"):
    """A disk as libvirt writes it: node names are counted up, the device and the image stay."""
    return [
        *("-blockdev", f"driver=file,node-name=libvirt-{number}-storage,filename={path}"),
        *(
            "-blockdev",
            f"driver=qcow2,node-name=libvirt-{number}-format,file=libvirt-{number}-storage",
        ),
        *("-device", f"virtio-blk-pci,drive=libvirt-{number}-format,id={device}"),
    ]


def saved(place, *arguments, disks=("virtio-disk0",)):
    place.start(*arguments)
    made = place.run("apply", "-", text=request_text("a", disks, disks[0]))
    assert made.returncode == 0, made.stderr


def assert_works(place, *words):
    """It is whole, listed as complete, loads and is deleted."""
    verified = place.run("verify", "a", *words)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    listed = as_json(place.run("list", "--json", *words))["snapshots"]
    assert [each["standing"] for each in listed if each["tag"] == "a"] == ["complete"]
    loaded = place.run("load", "a", "--yes", *words)
    assert loaded.returncode == 0, loaded.stderr
    deleted = place.run("delete", "a", "--yes", *words)
    assert deleted.returncode == 0, deleted.stderr


def test_node_names_of_another_start(place):
    """Before: `delete it by id and name`, of the very part."""
    path = place.image("a.qcow2")
    saved(place, *as_libvirt(2, path))
    place.start(*as_libvirt(1, path))
    assert_works(place)
    assert place.tags("a.qcow2") == []


def test_node_names_that_two_disks_have_exchanged(place):
    """`libvirt-1` was the first disk and is the second now: each part goes to its own image."""
    first, second = place.image("a.qcow2"), place.image("b.qcow2", size="16M")
    disks = ("disk-a", "disk-b")
    saved(place, *as_libvirt(1, first, "disk-a"), *as_libvirt(2, second, "disk-b"), disks=disks)
    place.start(*as_libvirt(2, first, "disk-a"), *as_libvirt(1, second, "disk-b"))
    assert_works(place)
    assert place.tags("a.qcow2") == place.tags("b.qcow2") == []


def test_images_that_two_devices_have_exchanged_are_found(place):
    """The guest's memory knows the disks by their devices: that is no matter of names."""
    first, second = place.image("a.qcow2"), place.image("b.qcow2")
    disks = ("disk-a", "disk-b")
    saved(place, *as_libvirt(1, first, "disk-a"), *as_libvirt(2, second, "disk-b"), disks=disks)
    place.start(*as_libvirt(1, second, "disk-a"), *as_libvirt(2, first, "disk-b"))
    refused = place.run("load", "a", "--yes", "--json")
    assert refused.returncode == 10
    assert place.tags("a.qcow2") == place.tags("b.qcow2") == ["a"]


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "kind", ["link", "hard-link", "folder-link", "dots", "slashes", "relative"]
)
def test_another_name_of_the_same_file(place, kind):
    """Links, `..`, `//` and a relative name: the file is the same."""
    path = place.image("a.qcow2")
    saved(place, *as_libvirt(1, path))
    (place.path / "link.qcow2").symlink_to("a.qcow2")
    (place.path / "alias").symlink_to(".")
    (place.path / "sub").mkdir()
    if kind == "hard-link":
        os.link(path, place.path / "hard.qcow2")
    names = {
        "link": place.path / "link.qcow2",
        "hard-link": place.path / "hard.qcow2",
        "folder-link": place.path / "alias" / "a.qcow2",
        "dots": f"{place.path}/sub/../a.qcow2",
        "slashes": f"{place.path}//.//a.qcow2",
        "relative": "../a.qcow2",
    }
    place.start(*as_libvirt(2, names[kind]), cwd=place.path / "sub")
    assert_works(place)
    assert place.tags("a.qcow2") == []


def test_a_relative_name_is_recorded_from_the_root(place):
    """Before, nothing that works offline could find it, and no overlay went over it."""
    (place.path / "vm").mkdir()
    place.image("vm/a.qcow2")
    saved(place, *(word.replace("libvirt-1", "disk") for word in as_libvirt(1, "vm/a.qcow2")))
    text = (
        f"tag: b\nmachine-state: none\ndisks: {{virtio-disk0: {{external: {place.path}/o.qcow2}}}}"
    )
    assert place.run("apply", "-", text=text).returncode == 0
    assert place.run("delete", "b", "--overlays", "commit", "--yes").returncode == 0
    place.end()
    assert place.offline("verify", "a").returncode == 0
    assert place.offline("delete", "a", "--yes").returncode == 0
    assert place.tags("vm/a.qcow2") == []


def test_a_folder_that_was_moved_is_known_by_its_files(place):
    """On one file system the files are the same; a copy is taken at the user's word only."""
    (place.path / "old").mkdir()
    place.image("old/a.qcow2")
    saved(place, *as_libvirt(1, place.path / "old/a.qcow2"))
    place.end()
    (place.path / "old").rename(place.path / "new")
    place.start(*as_libvirt(2, place.path / "new/a.qcow2"))
    assert place.run("verify", "a").returncode == 0
    place.end()
    shutil.copytree(place.path / "new", place.path / "copy")
    shutil.rmtree(place.path / "new")
    place.start(*as_libvirt(3, place.path / "copy/a.qcow2"))
    refused = place.run("load", "a", "--yes", "--json")
    assert refused.returncode == 10
    assert {code for code, _ in codes(refused)} == {"part-file-differs"}
    assert "--moved" in refused.stdout
    assert "delete it" not in refused.stdout
    moved = ("--moved", f"{place.path}/old={place.path}/copy")
    assert_works(place, *moved)
    assert place.tags("copy/a.qcow2") == []


def test_what_was_moved_is_worked_on_offline(place):
    """A folder that came from another machine: `--moved` says where its images are here."""
    (place.path / "old").mkdir()
    place.image("old/a.qcow2")
    saved(place, *as_libvirt(1, place.path / "old/a.qcow2"))
    place.end()
    (place.path / "old").rename(place.path / "new")
    lost = place.offline("verify", "a")
    assert lost.returncode == 30
    moved = ("--moved", f"{place.path}/old={place.path}/new")
    verified = place.offline("verify", "a", *moved)
    assert verified.returncode == 0, verified.stdout
    assert place.offline("delete", "a", "--yes", *moved).returncode == 0
    assert place.tags("new/a.qcow2") == []


def test_what_is_said_to_be_moved_is_two_absolute_paths(place):
    """Anything else is a usage error, and nothing is done."""
    refused = place.offline("verify", "a", "--moved", "here=there")
    assert refused.returncode == 2
    assert "OLD=NEW" in refused.stderr
