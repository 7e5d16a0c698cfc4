"""Images that QEMU shows as options, and disks that stand on other disks, on a real QEMU."""

import subprocess

import pytest

from tests.live.gate import Gate
from tests.live.own_lines import codes
from tests.live.runs import SNAPPLAN, as_json, request_text, snapplan

pytestmark = pytest.mark.real_qemu


def disk(number, path, *, driver="qcow2"):
    """A `-blockdev` disk of two nodes, as libvirt writes it."""
    return [
        *("-blockdev", f"driver=file,node-name=s{number},filename={path}"),
        *("-blockdev", f"driver={driver},node-name=f{number},file=s{number}"),
        *("-device", f"virtio-blk-pci,drive=f{number},id=d{number}"),
    ]


def names(place):
    seen = as_json(snapplan("inspect", "--vm", place.path / "tool", "--json"))
    return [each["name"] for each in seen["disks"]]


def below(kind, path):
    """A qcow2 image with something below its format, so that QEMU shows it as options."""
    group = ["-object", "throttle-group,id=g0,x-iops-total=1000"]
    options = "driver=throttle,throttle-group=g0" if kind == "throttle" else f"driver={kind}"
    return [
        *(group if kind == "throttle" else ()),
        *("-blockdev", f"driver=file,node-name=s0,filename={path}"),
        *("-blockdev", f"{options},node-name=t0,file=s0"),
        *("-blockdev", "driver=qcow2,node-name=f0,file=t0"),
        *("-device", "virtio-blk-pci,drive=f0,id=d0"),
    ]


@pytest.mark.parametrize("kind", ["throttle", "preallocate"])
def test_an_image_with_a_filter_below_its_format_is_known_by_its_file(place, kind):
    """Before, its name was `json:{…}`: recorded as whole, and refused by all that works offline."""
    path = place.image("a.qcow2")
    place.start(*below(kind, path))
    made = place.run("apply", "-", text=request_text("a", ["f0"], "f0"))
    assert made.returncode == 0, made.stderr
    place.end()
    verified = place.offline("verify", "a", "--deep")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    deleted = place.offline("delete", "a", "--yes")
    assert deleted.returncode == 0, deleted.stderr
    assert place.tags("a.qcow2") == []


def test_an_overlay_goes_over_an_image_with_a_filter_below_its_format(place):
    """And is merged back, with the filter where it was."""
    path = place.image("a.qcow2")
    place.start(*below("throttle", path))
    text = f"tag: a\nmachine-state: none\ndisks: {{f0: {{external: {place.path / 'o.qcow2'}}}}}"
    made = place.run("apply", "-", text=text)
    assert made.returncode == 0, made.stderr
    assert place.run("verify", "a").returncode == 0
    merged = place.run("delete", "a", "--overlays", "commit", "--yes")
    assert merged.returncode == 0, merged.stderr
    drivers = {
        node["node-name"]: node["drv"] for node in place.qmp.execute("query-named-block-nodes")
    }
    assert drivers == {"s0": "file", "t0": "throttle", "f0": "qcow2"}


def test_a_chain_that_is_given_whole_is_known_by_its_files(place):
    """libvirt names every image of a chain: QEMU shows options, with the backing image in them."""
    base = place.image("base.qcow2")
    top = place.image("top.qcow2", "-b", str(base), "-F", "qcow2", size="")
    place.start(
        *("-blockdev", f"driver=file,node-name=s1,filename={base}"),
        *("-blockdev", "driver=qcow2,node-name=f1,file=s1,read-only=on"),
        *("-blockdev", f"driver=file,node-name=s2,filename={top}"),
        *("-blockdev", "driver=qcow2,node-name=f2,file=s2,backing=f1"),
        *("-device", "virtio-blk-pci,drive=f2,id=d2"),
    )
    overlay = place.path / "o.qcow2"
    text = f"tag: a\nmachine-state: none\ndisks: {{d2: {{external: {overlay}}}}}"
    made = place.run("apply", "-", text=text)
    assert made.returncode == 0, made.stderr
    assert place.run("verify", "a").returncode == 0
    place.end()
    verified = place.offline("verify", "a")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert place.offline("load", "a", "--yes").returncode == 0


def test_a_piece_of_a_file_is_not_taken_for_the_file(place):
    """A raw disk with an offset: an overlay over the whole file would show the guest another disk."""
    path = place.image("a.raw", image_format="raw")
    place.start(
        *("-blockdev", f"driver=file,node-name=s0,filename={path}"),
        *("-blockdev", "driver=raw,node-name=f0,file=s0,offset=1048576"),
        *("-device", "virtio-blk-pci,drive=f0,id=d0"),
    )
    text = f"tag: a\nmachine-state: none\ndisks: {{f0: {{external: {place.path / 'o.qcow2'}}}}}"
    refused = place.run("apply", "-", "--json", text=text)
    assert refused.returncode == 10
    assert [p["code"] for p in as_json(refused)["error"]["problems"]] == ["base-not-a-file"]


@pytest.mark.parametrize("filter_driver", ["blkdebug", "blkreplay"])
def test_a_drive_under_another_is_no_disk_of_its_own(place, filter_driver):
    """Before, one image was snapshotted twice, the run ended with 21, and nothing led out of it."""
    path = place.image("a.qcow2")
    place.start(
        *("-drive", f"if=none,id=A,file={path},format=qcow2"),
        *("-drive", f"if=none,id=B,driver={filter_driver},image=A"),
        *("-device", "virtio-blk-pci,drive=B,id=d0"),
    )
    assert names(place) == ["B"]
    made = place.run("apply", "-", text=request_text("a", ["A"], "A"))  # its name means the disk
    assert made.returncode == 0, made.stderr
    assert place.tags("a.qcow2") == ["a"]
    twice = place.run("apply", "-", "--json", text=request_text("b", ["A", "B"], "B"))
    assert (twice.returncode, codes(twice)) == (10, {("disk-named-twice", "B")})
    assert place.run("load", "a", "--yes").returncode == 0
    assert place.run("delete", "a", "--yes").returncode == 0
    assert place.tags("a.qcow2") == []


def test_a_drive_that_nothing_uses_stays_a_disk(place):
    """A drive without a device may hold the machine state: it is under nothing."""
    path = place.image("a.qcow2")
    place.start("-drive", f"if=none,format=qcow2,file={path}")
    assert names(place) == ["none0"]


def test_both_die_and_an_image_that_was_shown_as_options_is_repaired(place):
    """Before, crash repair had no file to look into, and the run stayed pending for good."""
    place.start(*below("throttle", place.image("a.qcow2")))
    (place.path / "request").write_text(request_text("a", ["f0"], "f0"))
    store = ("--store", place.path / "store")
    with Gate(place, "job-dismiss") as gate:
        running = subprocess.Popen(
            [SNAPPLAN, "apply", place.path / "request", "--vm", gate.path, *store],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        gate.kill(running, after=False)
    place.kill()
    recovered = snapplan("recover", "--vm", place.path / "gate", *store, "--json")
    [done] = as_json(recovered)["recovered"]
    assert place.tags("a.qcow2") == (["a"] if done["end"] == "done" else [])
    assert as_json(snapplan("recover", *store, "--json"))["pending"] == []
