"""No image is probed: what a guest, or somebody before it, wrote into an image opens no other file."""

import json
import os

import pytest

from tests.live.restores import request_of, save_external, store, template
from tests.live.runs import snapplan
from tests.support.images import qemu_img
from tests.support.qemu import qemu_img_binary
from tests.support.topology import DiskKind, DiskSpec, Topology

pytestmark = pytest.mark.real_qemu

DISKS = Topology(disks=(DiskSpec("disk0"), DiskSpec("disk1", DiskKind.RAW)))
NOWHERE = "/nonexistent/secret"
"""A header names it: whoever follows that fails."""


def run(vm, *arguments):
    """Run snapplan with the VM's store: its exit code, and what it says."""
    done = snapplan(*arguments, *store(vm))
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def codes(said):
    """The codes of a verdict's findings, or of an error's problems."""
    problems = said["error"]["problems"] if "error" in said else said["findings"]
    return {(problem["code"], problem["subject"]) for problem in problems}


def test_a_raw_disk_is_raw_whatever_its_guest_wrote(qemu):
    """A qcow2 header at its start is the guest's data: verify, load and delete open nothing else."""
    vm = qemu.start(DISKS)
    header = vm.directory / "header"
    words = ("create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", NOWHERE, header, "8M")
    qemu_img(qemu_img_binary(), *words)
    written = header.read_bytes()[: 2**16].ljust(2**16, b"\0")
    header.write_bytes(written)

    def write(at):
        device = "/machine/peripheral/disk1-device/virtio-backend"
        command = f'qemu-io -d {device} "write -q -s {header} {at} 64k"'
        assert vm.execute("human-monitor-command", **{"command-line": command}) == ""

    write("0")
    over = vm.directory / "o1.qcow2"
    save_external(vm, request_of("a", {"disk1": over}, "none", others="exclude"))
    write("64k")
    vm.end()
    code, said = run(vm, "verify", "a", "--offline", "--deep")
    assert (code, said["findings"]) == (0, [])
    assert run(vm, "load", "a")[0] == 0
    code, said = run(vm, "delete", "a", "--offline", "--yes", "--overlays", "commit")
    assert code == 0, said
    assert not over.exists()
    assert vm.image("disk1").read_bytes()[: 2**17] == written * 2


def rename_backing(image):
    """Have an image's header name another file as what is under it, and leave no trace of the time."""
    was = image.stat()
    qemu_img(*(qemu_img_binary(), "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", NOWHERE, image))
    os.utime(image, ns=(was.st_atime_ns, was.st_mtime_ns))


def test_a_header_does_not_say_what_lies_under_an_image(qemu):
    """The record does: a part is deleted without it, and a restore that QEMU would follow is refused."""
    vm = qemu.start(Topology(disks=(DiskSpec("disk0"), DiskSpec("disk1"))))
    parts = {"disk0": "internal", "disk1": vm.directory / "o1.qcow2"}
    save_external(vm, request_of("a", parts, "none"))
    vm.end()
    rename_backing(vm.image("disk0"))
    rename_backing(vm.image("disk1"))
    code, said = run(vm, "verify", "a", "--offline")
    assert (code, codes(said)) == (30, {("chain-differs", "disk1")})
    code, said = run(vm, "load", "a")
    assert (code, codes(said)) == (10, {("chain-differs", "disk1")})
    code, said = run(vm, "delete", "a", "--offline", "--yes", "--overlays", "commit")
    assert code == 0, said
    assert vm.image_tags("disk0") == []


def test_a_qemu_that_takes_an_image_for_another_format_is_ended(qemu):
    """`format=raw` for what is an overlay now: the guest would see the qcow2 file itself."""
    vm = qemu.start(DISKS)
    over = vm.directory / "o1.qcow2"
    manifest = save_external(
        vm,
        request_of(
            "a",
            {"disk1": over},
            {"external": str(vm.directory / "state"), "capture": "stopped"},
            others="exclude",
        ),
    )
    vm.end()
    words = template(vm, manifest).replace("{format:disk1}", "raw")
    code, said = run(vm, "load", "a", "--run", words, "--qmp", vm.directory / "tool")
    assert code == 20
    assert ("part-format-differs", "disk1") in codes(said)
