"""Overlays, streams and copies in a folder whose owner swaps names while snapplan works there.

Whoever may write to the folder is stood for by a qemu-img that swaps the temporary name for a symbolic
link before it does what it was asked, so that the race is lost every time.
"""

import asyncio
import contextlib
import json
import shutil

import pytest

from backends import copies
from backends.copies import RestoringHost
from backends.host import QemuHost
from backends.images import QemuImages
from planner.run.ports import HostRefused, NoReply
from tests.support import images
from tests.support.qemu import qemu_binary, qemu_img_binary

pytestmark = pytest.mark.real_qemu

SIZE = 1 << 20
UNTOUCHED = "only for root"
HOSTILE = """#!/bin/sh
case "$*" in
*create*|*convert*|*info*)
  for name in {folder}/.*.snapplan; do
    [ -e "$name" ] && mv "$name" "$name.away" && ln -s {victim} "$name"
  done ;;
esac
exec {qemu_img} "$@"
"""


@pytest.fixture
def qemu_img():
    """The real one."""
    return qemu_img_binary()


@pytest.fixture
def victim(tmp_path):
    """A file that must not be touched, of a name that is no image's."""
    file = tmp_path / "victim"
    file.write_text(UNTOUCHED)
    return file


@pytest.fixture
def folder(tmp_path, qemu_img):
    """A folder with a raw and a qcow2 image."""
    made = tmp_path / "hostile"
    made.mkdir()
    images.create(qemu_img, made / "base.raw", "raw", SIZE)
    images.create(qemu_img, made / "disk.qcow2", "qcow2", SIZE)
    return made


@pytest.fixture
def hostile(tmp_path, folder, victim, qemu_img):
    """A qemu-img that swaps names first."""
    program = tmp_path / "hostile-qemu-img"
    program.write_text(
        HOSTILE.format(folder=folder, victim=victim, qemu_img=shutil.which(qemu_img))
    )
    program.chmod(0o755)
    return str(program)


def do(host, instruction, **arguments):
    """One instruction, done."""
    plain = {key.replace("_", "-"): str(value) for key, value in arguments.items()}
    return asyncio.run(host.do(instruction, plain, 60))


def test_an_overlay_is_written_to_the_file_that_was_made(folder, victim, hostile, qemu_img):
    """Nothing is written through the swapped name, and the overlay is whole."""
    made = folder / "over.qcow2"
    base = {"base": folder / "base.raw", "base_format": "raw"}
    do(QemuHost(hostile), "create-overlay", path=made, size=SIZE, **base)
    assert victim.read_text() == UNTOUCHED
    assert json.loads(images.qemu_img(qemu_img, "info", "--output=json", made))[
        "backing-filename"
    ] == str(folder / "base.raw")
    assert do(QemuHost(hostile), "remove-overlay", path=made, base=folder / "base.raw")["removed"]
    assert victim.read_text() == UNTOUCHED


def test_an_overlay_that_is_a_link_is_not_removed(folder, victim):
    """What is removed is looked at, and a link is nothing that was made here."""
    (folder / "over.qcow2").symlink_to(victim)
    with pytest.raises(HostRefused, match="no file that was made here"):
        do(QemuHost(), "remove-overlay", path=folder / "over.qcow2", base=folder / "base.raw")
    assert victim.read_text() == UNTOUCHED


def test_a_converted_snapshot_is_written_to_the_file_that_was_made(
    folder, victim, hostile, qemu_img
):
    """A restore's copies are made in the same folders."""
    images.qemu_img(qemu_img, "snapshot", "-c", "s", folder / "disk.qcow2")
    made = folder / "copy.qcow2"
    source = folder / "disk.qcow2"
    do(RestoringHost(hostile), "convert-snapshot", path=made, source=source, snapshot_id="1")
    assert victim.read_text() == UNTOUCHED
    images.check(qemu_img, made)


def test_a_copied_image_is_written_to_the_file_that_was_made(folder, victim, monkeypatch):
    """Here nothing of qemu-img's is in between, so the copying itself swaps first."""
    plain = shutil.copyfile

    def swap_then_copy(source, target):
        name = folder / ".copy.qcow2.snapplan"
        name.rename(folder / "away")
        name.symlink_to(victim)
        plain(source, target)

    monkeypatch.setattr(copies.shutil, "copyfile", swap_then_copy)
    source = folder / "disk.qcow2"
    do(RestoringHost(), "copy-image", path=folder / "copy.qcow2", source=source)
    assert victim.read_text() == UNTOUCHED
    assert (folder / "copy.qcow2").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("by", ["a symbolic link", "another file"])
def test_a_stream_whose_name_was_swapped_is_not_kept(folder, victim, by):
    """The machine state that is recorded is the one that was written to the file made here."""
    host = QemuHost()
    where = {"path": folder / "a.state", "temporary": folder / ".a.state.snapplan"}
    do(host, "create-stream", **where)
    where["temporary"].write_text("machine state")
    where["temporary"].rename(folder / "away")
    if by == "another file":
        where["temporary"].write_text("of somebody else")
    else:
        where["temporary"].symlink_to(victim)
    with pytest.raises(HostRefused):
        do(host, "keep-stream", **where)
    assert not where["path"].exists()
    do(host, "remove-stream", **where)
    assert victim.read_text() == UNTOUCHED


def swapping(program, real, image, others):
    """A program that has the image's name mean another image before it does what it was asked."""
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *info*) ;; *) mv {image} {image}.away; ln -s {others} {image};; esac\n'
        f'exec {shutil.which(real)} "$@"\n'
    )
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("what", ["delete", "delete by id", "revert"])
def test_an_image_that_was_swapped_is_not_written_to(folder, tmp_path, qemu_img, monkeypatch, what):
    """A snapshot is deleted and reverted in the image that was looked at, not in what its name means."""
    image, others = folder / "disk.qcow2", tmp_path / "others.qcow2"
    for _ in range(2 if what == "delete by id" else 1):
        images.qemu_img(qemu_img, "snapshot", "-c", "s", image)
    images.qemu_img(qemu_img, "resize", "-q", image, str(2 * SIZE))  # a revert takes that back
    shutil.copyfile(image, others)
    before = others.read_bytes()
    swap = swapping(tmp_path / "swapping-qemu", qemu_binary(), image, others)
    monkeypatch.setenv("SNAPPLAN_QEMU", swap)
    work = QemuImages(swapping(tmp_path / "swapping-qemu-img", qemu_img, image, others))
    # What is looked at afterwards, by name, is another image: that is said, and nothing else is done.
    with contextlib.suppress(NoReply):
        if what == "revert":
            asyncio.run(work.revert(str(image), "1"))
        else:
            asyncio.run(work.delete(str(image), "s", "2" if what == "delete by id" else "1"))
    assert image.is_symlink()
    assert others.read_bytes() == before
    told = json.loads(
        images.qemu_img(qemu_img, "info", "--output=json", folder / "disk.qcow2.away")
    )
    held = {"delete": 0, "delete by id": 1, "revert": 1}[what]
    assert len(told.get("snapshots", ())) == held
    assert told["virtual-size"] == (SIZE if what == "revert" else 2 * SIZE)
