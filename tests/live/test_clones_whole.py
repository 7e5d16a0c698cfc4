"""From `snapplan template` to VMs that go on: machine state inside an image, clones saved themselves."""

import contextlib
import shutil
from pathlib import Path

import pytest

from tests.live.made_templates import made
from tests.live.restores import request_of, save_external, store
from tests.live.runs import as_json, request_text, snapplan
from tests.live.templates import Clones, clone_line, wait
from tests.live.test_clones import digests, went_on
from tests.support.guest import failures, heartbeats
from tests.support.topology import DiskKind, two_disks

pytestmark = pytest.mark.real_qemu


def saved_inside(qemu):
    """Two disks and the machine state in their images, and a template whose line names each VM."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(1)
    parts = {"disk0": "internal", "disk1": "internal"}
    manifest = save_external(vm, request_of("a", parts, {"internal": "disk0"}))
    vm.wait_guest(2, since=len(vm.console()))
    later = heartbeats(vm.console())[-1]
    vm.end()
    line = clone_line(vm, manifest).replace(
        "-nodefaults", "-nodefaults -uuid {uuid} -name c{clone}"
    )
    return vm, manifest, later, made(vm, manifest, line=line)


@pytest.mark.long
def test_a_clone_of_what_is_inside_images_is_saved_and_goes_back_to_it(qemu):
    """Its own snapshot holds its memory: the guest, which checks every page, goes on from there."""
    vm, _, later, template = saved_inside(qemu)
    before = digests(template)
    with Clones(vm) as clones:
        said = clones.load("a", "--clones", "2", "--qmp", vm.directory / "c{clone}")
        for number in (1, 2):
            went_on(clones, number, later)
        own = ("--vm", vm.directory / "c2", *store(vm))
        text = request_text("own", ["disk0", "disk1"], "disk0")
        done = snapplan("apply", "-", *own, text=text)
        assert done.returncode == 0, done.stderr
        at = heartbeats(clones.console(2))[-1]
        wait(lambda: heartbeats(clones.console(2))[-1] > at + 32, 60)
        told = len(clones.console(2))
        done = snapplan("load", "own", *own)
        assert done.returncode == 0, done.stderr
        wait(lambda: len(heartbeats(clones.console(2)[told:])) > 3, 60)
        assert failures(clones.console(2)) == []
        with contextlib.closing(clones.qmp(1)) as one, contextlib.closing(clones.qmp(2)) as two:
            ids = [each.execute("query-uuid")["UUID"] for each in (one, two)]
        assert ids == [each["uuid"] for each in said["clones"]]
    assert digests(template) == before
    drop = ("restore", "drop", "--yes", *store(vm))
    assert snapplan(*drop, "a.restored-1").returncode == 0
    needed = as_json(snapplan(*drop, "a.restored-2"))["error"]["problems"]
    assert {each["code"] for each in needed} == {"part-needed"}, needed


@pytest.mark.long
@pytest.mark.parametrize("where", ["as-it-was", "copied"])
def test_twenty_restores_of_one_template_four_at_once(qemu, where):
    """Also where everything was copied to another folder, and the old one is gone."""
    vm, _, later, template = saved_inside(qemu)
    more = ()
    if where == "copied":
        old = vm.directory
        kept = old / "kept"
        kept.mkdir()
        for file in [*template.own_files, *(str(vm.image(disk)) for disk in ("disk0", "disk1"))]:
            shutil.copy2(file, kept / Path(file).name)
            Path(file).unlink()
        more = ("--moved", f"{old}={kept}")
    with Clones(vm) as clones:
        for _ in range(5):
            said = clones.load("a", *more, "--clones", "4", "--qmp", vm.directory / "c{clone}")
            for each in said["clones"]:
                went_on(clones, each["number"], later)
    listed = as_json(snapplan("restore", "list", *store(vm)))["restores"]
    assert [(each["number"], each["runs"]) for each in listed] == [(n, False) for n in range(1, 21)]


@pytest.mark.long
def test_sixteen_at_once_while_the_vm_that_was_saved_goes_on(qemu):
    """Each with memory, disks and a socket of its own; the VM that was saved is not touched."""
    vm = qemu.start(two_disks(DiskKind.RAW, guest=True))
    vm.wait_guest(1)
    folder = vm.directory
    parts = {"disk0": folder / "o0.qcow2", "disk1": folder / "o1.qcow2"}
    state = {"external": str(folder / "state"), "capture": "stopped"}
    manifest = save_external(vm, request_of("a", parts, state))
    vm.wait_guest(2, since=len(vm.console()))
    later = heartbeats(vm.console())[-1]
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    made(vm, manifest, line=clone_line(vm, manifest).replace(f"{folder}/qmp", f"{elsewhere}/qmp"))
    with Clones(vm) as clones:
        said = clones.load("a", "--clones", "16", "--qmp", elsewhere / "c{clone}")
        for each in said["clones"]:
            went_on(clones, each["number"], later, 2)
        vm.wait_guest(2, since=len(vm.console()))
