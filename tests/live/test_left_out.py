"""Disks and media that a snapshot leaves out: recorded, and looked at before it is loaded."""

import json

import pytest
import yaml

from tests.live.faults import assert_guest_unharmed
from tests.live.restores import request_of, restored, save_external
from tests.live.runs import as_json, snapplan
from tests.support.images import create
from tests.support.qemu import qemu_img_binary
from tests.support.topology import DiskKind, DiskSpec, Topology

pytestmark = pytest.mark.real_qemu

GUEST = Topology(
    disks=(DiskSpec("disk0"), DiskSpec("data", DiskKind.RAW)), guest=True, guest_disks=("disk0",)
)
CHANGED = ("left-out-changed", "data")


def options(vm):
    return ("--vm", vm.qmp_path, "--store", vm.directory / "store", "--json")


def load(vm, *more):
    """Load; the exit code, and the codes and subjects of what is wrong."""
    done = snapplan("load", "a", *options(vm), *more)
    problems = as_json(done).get("error", {}).get("problems", [])
    return done.returncode, {(problem["code"], problem["subject"]) for problem in problems}


def write(vm, disk):
    """Write to a disk as its guest would."""
    device = f"/machine/peripheral/{disk}-device/virtio-backend"
    command = f'qemu-io -d {device} "write -P 7 1M 4k"'
    assert vm.execute("human-monitor-command", {"command-line": command}) == ""


def leave_out(vm, **disks):
    return save_external(vm, request_of("a", {"disk0": "internal", **disks}, {"internal": "disk0"}))


def test_a_left_out_disk_that_was_written_to_is_not_loaded_over(qemu):
    """Untouched it is loaded; written to, it is refused by name until somebody accepts it."""
    vm = qemu.start(GUEST)
    vm.wait_guest(1)
    manifest = json.loads(leave_out(vm, data="exclude").read_text())
    (left_out,) = manifest["left-out"]
    assert (left_out["disk"], left_out["file"]) == ("data", str(vm.image("data")))
    assert load(vm) == (0, set())

    write(vm, "data")
    since = len(vm.console())
    assert load(vm) == (10, {CHANGED})
    vm.wait_guest(1, since=since)
    done = snapplan("verify", "a", *options(vm))
    verdict = as_json(done)
    assert (done.returncode, verdict["whole"]) == (0, True)
    assert [(p["code"], p["subject"]) for p in verdict["left-out"]] == [CHANGED]
    assert load(vm, "--accept-changed", "disk0") == (10, {CHANGED})
    assert load(vm, "--accept-changed", "data") == (0, set())
    assert_guest_unharmed(vm)


def test_a_draft_leaves_nothing_out_and_goes_back(qemu):
    """A raw data disk gets an overlay; the snapshot is restored with what the disk held then."""
    vm = qemu.start(GUEST)
    vm.wait_guest(1)
    done = snapplan("inspect", "--vm", vm.qmp_path, "--request", "--tag", "a")
    draft = yaml.safe_load(done.stdout)
    overlay = vm.directory / "data.a.qcow2"
    assert draft["disks"] == {"disk0": "internal", "data": {"external": str(overlay)}}
    manifest = save_external(vm, done.stdout)
    write(vm, "data")
    assert overlay.exists()
    vm.end()
    with restored(vm, manifest, "--yes") as fresh:
        fresh.wait_guest(2)
        base = vm.image("data").read_bytes()
        assert base == bytes(len(base))


def test_a_draft_of_raw_disks_alone_has_its_machine_state_in_a_file(qemu):
    """No image can hold it, so it goes beside the first one; the draft is done as it stands."""
    vm = qemu.start(Topology(disks=(DiskSpec("data", DiskKind.RAW),)))
    done = snapplan("inspect", "--vm", vm.qmp_path, "--request", "--tag", "a")
    draft = yaml.safe_load(done.stdout)
    assert draft["machine-state"] == {
        "external": str(vm.directory / "a.state"),
        "capture": "stopped",
    }
    assert snapplan("apply", "-", *options(vm), text=done.stdout).returncode == 0


CD = "cd0"


def with_cd(qemu):
    """A VM with a CD in its drive, and another one beside it."""
    arguments = ("-drive", f"if=none,id={CD},media=cdrom", "-device", f"ide-cd,drive={CD},id=drive")
    vm = qemu.start(Topology(disks=(DiskSpec("disk0"),), extra_args=arguments))
    for name in ("one.iso", "two.iso"):
        create(qemu_img_binary(), vm.directory / name, "raw", 1 << 20)
    return vm


def insert(vm, name):
    more = {"filename": str(vm.directory / name), "format": "raw", "read-only-mode": "read-only"}
    vm.execute("blockdev-change-medium", {"id": "drive", **more})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("one.iso", "two.iso"),
        pytest.param("one.iso", "", marks=pytest.mark.long),
        pytest.param("", "two.iso", marks=pytest.mark.long),
    ],
)
def test_another_medium_is_told(qemu, before, after):
    """Exchanged, taken out, put in: refused by the drive's name, accepted by it, fine when back."""
    vm = with_cd(qemu)
    if before:
        insert(vm, before)
    leave_out(vm)
    assert load(vm) == (0, set())
    if after:
        insert(vm, after)
    else:
        vm.execute("eject", {"id": "drive", "force": True})
    assert load(vm) == (10, {("left-out-changed", CD)})
    assert load(vm, "--accept-changed", CD) == (0, set())
    if before:
        insert(vm, before)
        assert load(vm) == (0, set())


def test_what_nobody_can_look_at_is_taken_for_changed(qemu):
    """An image that is gone from its place, though QEMU has it open: nobody can say what it holds."""
    vm = qemu.start(GUEST)
    leave_out(vm, data="exclude")
    vm.image("data").rename(vm.directory / "elsewhere")
    assert load(vm) == (10, {CHANGED})
