"""Snapshots with external parts go back in a fresh QEMU, and their guest goes on from the instant."""

import json
import shlex

import pytest

from planner.host.processes import open_files, program_of
from tests.live.faults import assert_guest_unharmed
from tests.live.restores import (
    Adopted,
    disk_name,
    request_of,
    restored,
    save_external,
    store,
    template,
)
from tests.live.runs import snapplan
from tests.support.guest import heartbeats
from tests.support.images import qemu_img
from tests.support.qemu import qemu_img_binary
from tests.support.topology import DiskKind, DiskSpec, Topology, two_disks

pytestmark = pytest.mark.real_qemu


def save(vm, parts, state, tag="a"):
    """Save, and let the guest go on; the manifest, and the counters before and now."""
    before = vm.wait_guest(1)[-1]
    manifest = save_external(vm, request_of(tag, parts, state, others="exclude"))
    vm.wait_guest(4, since=len(vm.console()))
    assert_guest_unharmed(vm)
    return manifest, before, heartbeats(vm.console())[-1]


def save_and_end(vm, parts, state):
    """The same, and QEMU is ended."""
    try:
        return save(vm, parts, state)
    finally:
        vm.end()


def assert_went_on(vm, before, later):
    """It did not boot: it goes on from an instant between these two counters, without a complaint."""
    counters = vm.wait_guest(3)
    assert "start" not in vm.console()
    assert before < counters[0] < later
    assert vm.status() == "running"


def test_all_external_restores_twice(qemu):
    """Frozen images and a stream, restored twice: neither is written to, each goes on from the save."""
    vm = qemu.start(two_disks(DiskKind.RAW, guest=True))
    folder = vm.directory
    parts = {"disk0": folder / "o0.qcow2", "disk1": folder / "o1.qcow2"}
    state = {"external": str(folder / "state"), "capture": "stopped"}
    manifest, before, later = save_and_end(vm, parts, state)
    kept = [vm.image("disk0"), vm.image("disk1"), folder / "state", *parts.values()]
    content = [path.read_bytes() for path in kept]
    for number in (1, 2):
        with restored(vm, manifest) as again:
            assert_went_on(again, before, later)
            left = [c for c in again.execute("query-migrate-capabilities") if c["state"]]
            assert left == [], "mapped-ram would spoil a later load (fact 64)"
            files = [disk["file"] for disk in again.said["disks"]]
            assert files == [str(folder / f"o{disk}.restored-{number}.qcow2") for disk in (0, 1)]
            code, verdict, _ = verify(vm, manifest, "--vm", again.qmp_path)
            assert (code, verdict["findings"]) == (0, [])
        assert [path.read_bytes() for path in kept] == content
    code, verdict, _ = verify(vm, manifest, "--offline", "--deep")
    assert (code, verdict["findings"]) == (0, [])


def verify(vm, manifest, *how):
    done = snapplan("verify", manifest, *store(vm), *how)
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.long
def test_mixed_live_reverts_or_copies(qemu):
    """Internal, raw and behind a throttle filter, captured live: into copies, then by reverting."""
    vm = qemu.start(two_disks(DiskKind.RAW, DiskKind.FILTERED, guest=True))
    folder = vm.directory
    parts = {"disk0": "internal", "disk1": folder / "o1.qcow2", "disk2-format": folder / "o2.qcow2"}
    state = {"external": str(folder / "state"), "capture": "live"}
    manifest, before, later = save_and_end(vm, parts, state)
    copies = folder / "copies"
    copies.mkdir()
    content = vm.image("disk0").read_bytes()
    with restored(vm, manifest, "--copy-to", copies) as again:
        assert_went_on(again, before, later)
    assert vm.image("disk0").read_bytes() == content
    done = snapplan("load", manifest, "--offline", *store(vm))
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "confirmation-missing"
    with restored(vm, manifest, "--yes") as again:
        assert_went_on(again, before, later)
    assert vm.image_tags("disk0") == ["a"]


def test_internal_machine_state_beside_raw_firmware(qemu):
    """Machine state in an image, firmware under overlays: `snapshot-load` in a QEMU on new overlays."""
    firmware = [
        DiskSpec(
            "code0", DiskKind.RAW, 2**18, "pflash", content="/usr/share/seabios/bios-256k.bin"
        ),
        DiskSpec("vars0", DiskKind.RAW, 2**18, "pflash"),
    ]
    disks = (DiskSpec("disk0"), DiskSpec("disk1", DiskKind.DRIVE), *firmware)
    vm = qemu.start(Topology(disks=disks, guest=True))
    parts = {"disk0": "internal", "disk1": "internal", "vars0": vm.directory / "v0.qcow2"}
    manifest, before, later = save_and_end(vm, parts, {"internal": "disk0"})
    shown = snapplan("load", manifest)
    assert (shown.returncode, "snapshot-load" in shown.stdout) == (0, True), shown.stderr
    with restored(vm, manifest, "--yes") as again:
        assert_went_on(again, before, later)


@pytest.mark.long
def test_a_second_snapshot_lies_on_the_first(qemu):
    """A disk under snapplan's overlay keeps its name; both of its snapshots restore, in either order."""
    disks = (DiskSpec("disk0", DiskKind.DRIVE), DiskSpec("disk1", DiskKind.RAW))
    vm = qemu.start(Topology(disks=disks, guest=True))
    folder = vm.directory
    saved = {}
    for tag, capture in (("first", "stopped"), ("second", "live")):
        parts = {disk: folder / f"{disk}.{tag}.qcow2" for disk in ("disk0", "disk1")}
        state = {"external": str(folder / tag), "capture": capture}
        saved[tag] = save(vm, parts, state, tag)
    vm.end()
    for tag in ("second", "first", "second"):
        manifest, before, later = saved[tag]
        with restored(vm, manifest) as again:
            assert_went_on(again, before, later)
            # Also the one on another branch: what it needs is its own images, not those of this VM.
            for each, _, _ in saved.values():
                assert verify(vm, each, "--vm", again.qmp_path)[1]["findings"] == []
            listed = json.loads(snapplan("list", "--vm", again.qmp_path, *store(vm)).stdout)[
                "snapshots"
            ]
            assert {each["tag"]: each["standing"] for each in listed} == dict.fromkeys(
                saved, "complete"
            )


def test_a_part_in_an_image_that_the_vm_has_not_open_is_looked_for_there(qemu):
    """Restored into copies, the VM has the images of no snapshot open; a part that is gone is missed."""
    vm = qemu.start(two_disks(DiskKind.RAW, guest=True))
    folder = vm.directory
    parts = {"disk0": "internal", "disk1": folder / "o1.qcow2"}
    state = {"external": str(folder / "state"), "capture": "stopped"}
    manifest, before, later = save_and_end(vm, parts, state)
    copies = folder / "copies"
    copies.mkdir()
    with restored(vm, manifest, "--copy-to", copies) as again:
        assert_went_on(again, before, later)
        assert verify(vm, manifest, "--vm", again.qmp_path)[1]["findings"] == []
        qemu_img(qemu_img_binary(), "snapshot", "-d", "a", vm.image("disk0"))
        code, verdict, _ = verify(vm, manifest, "--vm", again.qmp_path)
        assert (code, [each["code"] for each in verdict["findings"]]) == (30, ["part-missing"])


def test_a_qemu_that_is_another_vm_is_ended(qemu):
    """Another machine type: nothing is loaded, QEMU is ended, and no new file is left."""
    vm = qemu.start(Topology(disks=(DiskSpec("disk0"),), guest=True))
    folder = vm.directory
    state = {"external": str(folder / "state"), "capture": "stopped"}
    manifest, _, _ = save_and_end(vm, {"disk0": folder / "o0.qcow2"}, state)
    there = sorted(folder.glob("*.qcow2"))
    words = template(vm, manifest).replace("pc,accel", "q35,accel")
    where = ("--qmp", folder / "tool", *store(vm))
    done = snapplan("load", manifest, "--run", words, *where)
    error = json.loads(done.stdout)["error"]
    codes = {problem["code"] for problem in error["problems"]}
    assert (done.returncode, "machine-differs" in codes) == (20, True), done.stdout
    assert sorted(folder.glob("*.qcow2")) == there


@pytest.mark.long
def test_a_script_that_starts_a_daemon_is_told_of_and_ended_with_its_qemu(qemu):
    """One that drops the arguments that it is given starts a guest: it is ended all the same."""
    vm = qemu.start(Topology(disks=(DiskSpec("disk0"),), guest=True))
    folder = vm.directory
    state = {"external": str(folder / "state"), "capture": "stopped"}
    manifest, _, _ = save_and_end(vm, {"disk0": folder / "o0.qcow2"}, state)
    there = sorted(folder.glob("*.qcow2"))
    script = folder / "start.sh"
    words = template(vm, manifest)
    name = disk_name(vm.topology.disks[0])
    line = words.replace(f"{{disk:{name}}}", "'$1'").replace(f"{{format:{name}}}", "qcow2")
    line = line.replace("{qmp}", "'$2'").replace("'$1'", "'\"$1\"'").replace("'$2'", "'\"$2\"'")
    where = ("--qmp", folder / "tool", *store(vm))
    for passed in ("", '"${@:3}"'):
        (folder / "console").unlink(missing_ok=True)
        script.write_text(f"#!/bin/bash\n{line} -daemonize {passed}\n")
        script.chmod(0o700)
        run = shlex.join((str(script), f"{{disk:{name}}}", "{qmp}"))
        done = snapplan("load", manifest, "--run", run, *where)
        said = json.loads(done.stdout)
        if not passed:
            error = said["error"]
            assert (done.returncode, error["code"]) == (20, "load-refused"), done.stdout
            assert [each["code"] for each in error["problems"]].count("run-state-unexpected") == 1
            assert error["vm-state"].startswith("No QEMU runs; no new file is left")
            assert sorted(folder.glob("*.qcow2")) == there
            assert open_files(map(str, there)).users == {}
    assert done.returncode == 0, done.stdout
    process = Adopted.of(said["pid"])
    assert "qemu" in program_of(process.pid)
    process.kill()
    process.wait()
