"""Images that are no regular files: block devices, and what NBD serves, on a real QEMU."""

import contextlib
import os
import subprocess
import time

import pytest

from tests.live.own_lines import codes
from tests.live.runs import as_json, request_text
from tests.support.fixtures import long
from tests.support.qemu import end_process, qemu_img_binary

pytestmark = pytest.mark.real_qemu

AS_ROOT = () if os.geteuid() == 0 else ("sudo", "-n")


@contextlib.contextmanager
def block_device(path):
    """A block device with this file's content, that we and QEMU may write to."""
    command = [*AS_ROOT, "losetup", "-f", "--show", str(path)]
    device = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    try:
        if AS_ROOT:
            subprocess.run([*AS_ROOT, "chown", str(os.geteuid()), device], check=True)
        yield device
    finally:
        subprocess.run([*AS_ROOT, "losetup", "-d", device], check=True)


@contextlib.contextmanager
def served(path, image_format):
    """A name by which QEMU opens an image that another process serves over NBD."""
    socket = path.with_suffix(".sock")
    command = ["qemu-nbd", "-t", "-e", "5", "-f", image_format, "-k", str(socket), str(path)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        while not socket.exists():
            assert process.poll() is None, "qemu-nbd ended"
            time.sleep(0.01)
        yield f"nbd+unix:///?socket={socket}"
    finally:
        end_process(process)


def disk(name, file, image_format):
    return [
        *("-drive", f"if=none,id={name},file={file},format={image_format}"),
        *("-device", f"virtio-blk-pci,drive={name},id=d-{name}"),
    ]


def overlay_request(place, *names):
    wishes = ", ".join(f"{name}: {{external: {place.path}/{name}.o}}" for name in names)
    return f"tag: o\nmachine-state: none\ndisks: {{{wishes}}}\nothers: exclude"


def grown(place, name):
    """An image with room for what a snapshot adds: behind a device nothing grows."""
    path = place.image(name)
    with path.open("r+b") as file:
        file.truncate(32 << 20)
    return path


def test_parts_inside_a_block_device(place):
    """Verified, reverted and deleted without the VM, as in a file; before, refused."""
    with block_device(grown(place, "a.qcow2")) as device:
        place.start(*disk("A", device, "qcow2"))
        made = place.run("apply", "-", text=request_text("a", ["A"]))
        assert made.returncode == 0, made.stderr
        place.end()
        verified = place.offline("verify", "a", "--deep")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        reverted = place.offline("load", "a", "--yes")
        assert reverted.returncode == 0, reverted.stderr
        deleted = place.offline("delete", "a", "--yes")
        assert deleted.returncode == 0, deleted.stderr
        assert place.tags(device) == []


@pytest.mark.parametrize("image_format", ["raw", *long("qcow2")])
def test_an_overlay_over_a_block_device(place, image_format):
    """Before, the run failed at its first step; online QEMU merges it."""
    path = grown(place, "a.qcow2") if image_format == "qcow2" else None
    path = path or place.image("a.raw", image_format="raw")
    with block_device(path) as device:
        place.start(*disk("A", device, image_format))
        for way in ("online", "offline"):
            made = place.run("apply", "-", text=overlay_request(place, "A"))
            assert made.returncode == 0, made.stderr
            assert place.run("verify", "o").returncode == 0
            listed = as_json(place.run("list", "--json"))["snapshots"]
            assert [each["standing"] for each in listed] == ["complete"]
            if way == "offline":
                place.end()
            ways = {"online": place.run, "offline": place.offline}
            merged = ways[way]("delete", "o", "--overlays", "commit", "--yes")
            assert merged.returncode == 0, merged.stderr  # offline: both read the same
            assert not (place.path / "A.o").exists()


def test_a_block_device_that_may_have_been_written_to_is_not_merged_into(place):
    """Its times say nothing, so an overlay that may be stale stays."""
    with block_device(place.image("a.raw", image_format="raw")) as device:
        place.start(*disk("A", device, "raw"))
        assert place.run("apply", "-", text=overlay_request(place, "A")).returncode == 0
        place.end()
        write = ["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 4096", str(place.path / "A.o")]
        subprocess.run(write, check=True, capture_output=True)
        refused = place.offline("delete", "o", "--overlays", "commit", "--yes", "--json")
        assert (refused.returncode, codes(refused)) == (10, {("overlay-unproved", "A")})
        assert (place.path / "A.o").exists()


def test_what_nbd_serves(place):
    """Overlays go over it and are merged by QEMU; inside it a part needs the VM, and that is said."""
    inside, below = grown(place, "a.qcow2"), place.image("b.raw", image_format="raw")
    with served(inside, "raw") as first, served(below, "raw") as second:
        place.start(*disk("A", first, "qcow2"), *disk("B", second, "raw"))
        made = place.run("apply", "-", text=overlay_request(place, "B"))
        assert made.returncode == 0, made.stderr
        assert "[image-no-file] B" in made.stdout
        assert place.run("verify", "o").returncode == 0
        merged = place.run("delete", "o", "--overlays", "commit", "--yes")
        assert merged.returncode == 0, merged.stderr
        assert not (place.path / "B.o").exists()
        assert place.run("apply", "-", text=request_text("a", ["A"])).returncode == 0
        place.end()
        verified = place.offline("verify", "a")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        for words in (("load", "a"), ("delete", "a")):
            refused = place.offline(*words, "--yes", "--json")
            assert refused.returncode == 10
            assert ("image-no-file", "A") in codes(refused)
        shown = subprocess.run(
            [qemu_img_binary(), "snapshot", "-l", first],
            capture_output=True,
            text=True,
            check=True,
        )
        assert " a " in shown.stdout
