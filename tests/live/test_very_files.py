"""The files of a snapshot must be the very files that were saved: others, and later writes, show."""

import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.live.restores import request_of, save_external, store, template
from tests.live.runs import snapplan
from tests.support.qemu import backing_path, qemu_img_binary, run_qemu
from tests.support.topology import DiskKind, DiskSpec, Topology

pytestmark = pytest.mark.real_qemu

DISKS = Topology(disks=(DiskSpec("disk0"), DiskSpec("disk1", DiskKind.RAW)))
NAMES = ("disk0", "disk1")


def run(vm, *arguments, text=""):
    """Run snapplan with the VM's store: its exit code, and what it says."""
    done = snapplan(*arguments, *store(vm), text=text)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def codes(said):
    """The codes of a verdict's findings, or of an error's problems."""
    problems = said["error"]["problems"] if "error" in said else said["findings"]
    return {(problem["code"], problem["subject"]) for problem in problems}


def save(vm, tag="a", *more, state=True, disks=NAMES):
    """Freeze disks under overlays, with the machine state in a file or without; the manifest."""
    folder = vm.directory
    parts = {disk: folder / f"{tag}.{disk}.qcow2" for disk in disks}
    wish = {"external": str(folder / f"{tag}.state"), "capture": "stopped"} if state else "none"
    text = request_of(tag, parts, wish, others="exclude")
    code, said = run(vm, "apply", "-", "--vm", vm.qmp_path, *more, text=text)
    assert code == 0, said
    return said["manifest"]


def rewrite(path, at=0):
    """Change a byte in a file, and nothing else that could be seen from outside but its times."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.long
def test_another_stream_under_the_same_name_is_found(qemu):
    """Of the same length, even of the same time: its digest tells; a copy of the right one is right."""
    vm = qemu.start(DISKS)
    manifest = save(vm)
    state = vm.directory / "a.state"
    kept = vm.directory / "kept"
    shutil.copyfile(state, kept)
    was = state.stat()
    state.unlink()
    shutil.copyfile(kept, state)
    assert run(vm, "verify", "a", "--vm", vm.qmp_path, "--deep")[1]["findings"] == []
    rewrite(state, at=was.st_size // 2)
    os.utime(state, ns=(was.st_atime_ns, was.st_mtime_ns))
    differs = {("stream-differs", str(state))}
    code, said = run(vm, "verify", "a", "--vm", vm.qmp_path)
    assert (code, codes(said)) == (30, differs)
    vm.end()
    code, said = run(vm, "verify", "a", "--offline")
    assert (code, codes(said)) == (30, differs)
    there = sorted(vm.directory.iterdir())
    words = template(vm, vm.directory / manifest)
    for how in ((), ("--offline",), ("--run", words, "--qmp", vm.directory / "tool")):
        code, said = run(vm, "load", "a", *how)
        assert (code, codes(said)) == (10, differs)
    assert sorted(vm.directory.iterdir()) == there
    shutil.copyfile(kept, state)
    assert run(vm, "load", "a", "--offline")[0] == 0


def test_a_frozen_image_that_was_written_to_is_found(qemu):
    """By whom ever: offline as well, before a load, and before it is frozen for a second snapshot."""
    vm = qemu.start(DISKS)
    save(vm)
    vm.end()
    assert run(vm, "verify", "a", "--offline")[1]["findings"] == []
    changed = {("base-changed", "disk1")}
    with run_qemu(DISKS, vm.directory) as again:
        text = request_of("b", {"disk0": "internal"}, "none", others="exclude")
        code, said = run(vm, "apply", "-", "--vm", again.qmp_path, text=text)
        assert (code, codes(said)) == (10, {("part-needed", "disk0")})
        line = 'qemu-io -d /machine/peripheral/disk1-device/virtio-backend "write -P 0x77 1M 64k"'
        assert again.execute("human-monitor-command", **{"command-line": line}) == ""
        parts = {disk: vm.directory / f"b.{disk}.qcow2" for disk in NAMES}
        text = request_of("b", parts, "none", others="exclude")
        code, said = run(vm, "apply", "-", "--vm", again.qmp_path, text=text)
        assert (code, codes(said)) == (10, changed)
        code, said = run(vm, "verify", "a", "--vm", again.qmp_path)
        assert changed < codes(said)
    code, said = run(vm, "verify", "a", "--offline")
    assert (code, codes(said)) == (30, changed)
    code, said = run(vm, "load", "a", "--offline")
    assert (code, codes(said)) == (10, changed)


def test_an_image_that_was_only_opened_is_what_it_was(qemu):
    """No false alarm: QEMU's start on the frozen images (fact 61), another mode, another name."""
    vm = qemu.start(DISKS)
    save(vm)
    vm.end()
    with run_qemu(DISKS, vm.directory):
        pass
    for disk in NAMES:
        image = vm.image(disk)
        image.chmod(0o640)
        os.link(image, f"{image}.link")
    code, said = run(vm, "verify", "a", "--offline", "--deep")
    assert (code, said["findings"]) == (0, [])
    assert run(vm, "load", "a", "--offline")[0] == 0


@pytest.mark.long
def test_a_copy_is_proved_by_its_digest_where_there_is_one(qemu):
    """Without one a copy that kept its times is taken, with a word; one that did not is not."""
    vm = qemu.start(DISKS)
    save(vm, "a", "--digest", disks=("disk0",), state=False)
    save(vm, "b", disks=("disk1",), state=False)
    vm.end()
    for disk in NAMES:
        image = vm.image(disk)
        shutil.copy2(image, f"{image}.copy")
        Path(f"{image}.copy").replace(image)
    code, said = run(vm, "verify", "b", "--offline")
    assert (code, said["findings"]) == (0, [])
    assert "it is another file than the one that was saved" in str(said["unchecked"])
    for disk in NAMES:
        vm.image(disk).touch()
    assert run(vm, "verify", "a", "--offline")[1]["findings"] == []
    assert codes(run(vm, "verify", "b", "--offline")[1]) == {("base-changed", "disk1")}
    rewrite(vm.image("disk0"), at=vm.image("disk0").stat().st_size - 1)
    code, said = run(vm, "verify", "a", "--offline")
    assert (code, codes(said)) == (30, {("base-changed", "disk0")})


def test_what_lies_under_a_part_is_part_of_it(qemu):
    """A golden image under a frozen one, or under an internal snapshot, is written to by nobody."""
    disks = (DiskSpec("disk0", DiskKind.BACKED), DiskSpec("disk1", DiskKind.BACKED))
    vm = qemu.start(Topology(disks=disks))
    parts = {"disk0": vm.directory / "o0.qcow2", "disk1": "internal"}
    manifest = save_external(vm, request_of("a", parts, "none"))
    backing = {p["disk"]: p["backing"] for p in json.loads(manifest.read_text())["parts"]}
    golden = {disk: backing_path(vm.image(disk)) for disk in NAMES}
    assert {d: [(b["file"], b["format"]) for b in each] for d, each in backing.items()} == {
        disk: [(str(path), "qcow2")] for disk, path in golden.items()
    }
    vm.end()
    assert run(vm, "verify", "a", "--offline")[1]["findings"] == []
    for path in golden.values():
        subprocess.run([qemu_img_binary(), "bitmap", "--add", "-f", "qcow2", path, "b"], check=True)
    code, said = run(vm, "verify", "a", "--offline")
    assert (code, codes(said)) == (30, {("base-changed", disk) for disk in NAMES})
    golden["disk0"].unlink()
    assert ("file-missing", "disk0") in codes(run(vm, "verify", "a", "--offline")[1])


@pytest.mark.long
def test_an_older_snapshot_in_a_frozen_image_can_be_deleted(qemu):
    """What snapplan itself writes to a frozen image does not tear its snapshot, and is no alarm."""
    vm = qemu.start(DISKS)
    text = request_of("old", {"disk0": "internal"}, "none", others="exclude")
    assert run(vm, "apply", "-", "--vm", vm.qmp_path, text=text)[0] == 0
    save(vm, "c", disks=("disk1",), state=False)  # leaves disk0 out
    save(vm, "a", disks=("disk0",), state=False)
    save(vm, "b", disks=("disk0",), state=False)
    vm.end()
    code, said = run(vm, "delete", "old", "--offline", "--yes")
    assert code == 0, said
    for tag in ("a", "b"):
        code, said = run(vm, "verify", tag, "--offline")
        assert (code, said["findings"]) == (0, [])
        assert not any("nothing was recorded" in what for what in said["unchecked"])
    code, said = run(vm, "load", "c", "--offline")
    assert code == 0, said


def test_a_load_does_not_revert_a_frozen_image(qemu):
    """A VM started on the image that a later snapshot has frozen loads no earlier one into it."""
    vm = qemu.start(DISKS)
    text = request_of("old", {"disk0": "internal"}, {"internal": "disk0"}, others="exclude")
    assert run(vm, "apply", "-", "--vm", vm.qmp_path, text=text)[0] == 0
    save(vm, "a", disks=("disk0",), state=False)
    vm.end()
    with run_qemu(dataclasses.replace(DISKS, paused=True), vm.directory) as again:
        code, said = run(vm, "load", "old", "--vm", again.qmp_path)
        assert (code, codes(said)) == (10, {("part-needed", "disk0")})
    assert run(vm, "verify", "a", "--offline")[1]["findings"] == []


def test_a_delete_removes_no_file_that_is_not_provably_the_stream(qemu):
    """By its name it is; by its length, its beginning or its content it was made by another program."""
    vm = qemu.start(DISKS)
    save(vm)
    state, kept = vm.directory / "a.state", vm.directory / "kept"
    delete = ("delete", "a", "--vm", vm.qmp_path, "--yes", "--overlays", "keep")

    def refused(command):
        code, said = run(vm, *command)
        assert (code, codes(said)) == (10, {("stream-differs", str(state))})

    state.rename(kept)
    was = kept.stat()
    foreign = [b"a diary", b"QEVM" + b"\0" * (was.st_size - 4), b"\0" * was.st_size]
    for content in foreign:
        state.write_bytes(content)
        os.utime(state, ns=(was.st_atime_ns, was.st_mtime_ns))
        refused(delete)
        assert state.read_bytes() == content
        state.unlink()
    state.symlink_to(kept)
    refused(delete)
    state.unlink()
    shutil.copyfile(kept, state)  # another file of the same content: the digest proves it
    assert run(vm, *delete)[0] == 0
    assert kept.exists()
    assert not state.exists()
