"""Copies of disks beside all else: overlays, a LUKS disk, iothreads under virtio-blk and virtio-scsi."""

import subprocess

import pytest

from tests.live.gate import Gate
from tests.live.runs import SNAPPLAN, as_json
from tests.support.fixtures import long
from tests.support.qemu import qemu_img_binary

pytestmark = pytest.mark.real_qemu

SECRET = "key0"
COPIED = {"b0": ("copy.raw", "raw"), "s0": ("copy.qcow2", "qcow2")}
LUKS = f"encrypt.format=luks,encrypt.key-secret={SECRET},encrypt.iter-time=10"


@pytest.fixture
def busy(place):
    """A VM of four disks, two of them on iothreads, and a folder for what a save makes."""
    key = place.path / "key"
    key.write_text("pw")
    secret = ("--object", f"secret,id={SECRET},file={key}")
    place.image("e0", *secret, "-o", LUKS)
    lines = []
    for number, name in enumerate(("b0", "s0", "o0")):
        place.image(name)
        write = f"write -q -P {number + 1} 1M 2M"
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", write, place.path / name], check=True)
    for name in ("b0", "s0", "o0", "e0"):
        opened = f",encrypt.format=luks,encrypt.key-secret={SECRET}" if name == "e0" else ""
        lines += ("-blockdev", f"driver=file,node-name={name}-f,filename={place.path / name}")
        lines += ("-blockdev", f"driver=qcow2,node-name={name},file={name}-f{opened}")
    place.start(
        *("-object", f"secret,id={SECRET},file={key}"),
        *("-object", "iothread,id=io0", "-object", "iothread,id=io1", *lines),
        *("-device", "virtio-blk-pci,drive=b0,id=d-b0,iothread=io0"),
        *("-device", "virtio-scsi-pci,id=scsi,iothread=io1"),
        *("-device", "scsi-hd,drive=s0,id=d-s0,bus=scsi.0"),
        *("-device", "virtio-blk-pci,drive=o0,id=d-o0,iothread=io0"),
        *("-device", "virtio-blk-pci,drive=e0,id=d-e0"),
    )
    (place.path / "new").mkdir()
    return place


def request_of(place, state):
    """Two copies, an overlay, and a snapshot in the encrypted image."""
    new = place.path / "new"
    copies = {
        name: f"{{copy: {new / file}, format: {kind}}}" for name, (file, kind) in COPIED.items()
    }
    wishes = {**copies, "o0": f"{{external: {new / 'o0.overlay'}}}", "e0": "internal"}
    disks = ", ".join(f"{name}: {wish}" for name, wish in wishes.items())
    return f"tag: a\nmachine-state: {state.format(new)}\ndisks: {{{disks}}}\n"


@pytest.mark.sample(1)
@pytest.mark.parametrize("state", [*long("{{image: {0}/state}}"), "none"], ids=["image", "none"])
def test_copies_beside_an_overlay_and_a_luks_disk_on_iothreads(busy, state):
    """Made, verified by their digests, and what the disks held; the encrypted disk is refused a copy."""
    done = busy.run("apply", "-", text=request_of(busy, state))
    assert done.returncode == 0, done.stderr
    verified = busy.run("verify", "a", "--deep")
    assert verified.returncode == 0, verified.stdout
    for name, (file, kind) in COPIED.items():
        words = ("compare", "-U", "-f", "qcow2", "-F", kind, busy.path / name)
        subprocess.run([qemu_img_binary(), *words, busy.path / "new" / file], check=True)
    refused = busy.run(
        "apply", "-", text="tag: b\nmachine-state: none\nothers: exclude\ndisks: {e0: {copy: /x}}\n"
    )
    assert "copy-of-encrypted" in refused.stdout + refused.stderr


@pytest.mark.parametrize("command", long("transaction", "cont"))
def test_a_killed_run_on_iothreads_is_undone(busy, command):
    """Recovered with QEMU alive: no job, no node, no file of it is left."""
    before = busy.qmp.execute("query-named-block-nodes", {"flat": True})
    request = busy.path / "request.yaml"
    request.write_text(request_of(busy, "{{image: {0}/state}}"))
    with Gate(busy, command) as gate:
        words = ("apply", request, "--vm", gate.path, "--store", busy.path / "store")
        running = subprocess.Popen([SNAPPLAN, *words], stdout=-1, stderr=-1)
        gate.kill(running, after=True)
    done = busy.run("recover", "--json")
    assert done.returncode == 0, done.stderr
    assert [each["end"] for each in as_json(done)["recovered"]] == ["undone"]
    assert busy.qmp.execute("query-jobs") == []
    now = busy.qmp.execute("query-named-block-nodes", {"flat": True})
    assert sorted(node["node-name"] for node in now) == sorted(n["node-name"] for n in before)
    assert [node["image"].get("snapshots", []) for node in now] == [[]] * len(now)
    assert list((busy.path / "new").iterdir()) == []
