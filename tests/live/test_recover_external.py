"""A real QEMU whose snapplan is killed in a run with external parts: files, settings and nodes too."""

import json
import subprocess
from pathlib import Path

import pytest

from planner.store.store import Store
from tests.live.external import DISKS, FIRMWARE, account_of, external_request, start_mixed
from tests.live.faults import assert_guest_unharmed, assert_images
from tests.live.gate import Gate
from tests.live.runs import SNAPPLAN, as_json, held, snapplan
from tests.support.qemu import qemu_img_binary

pytestmark = pytest.mark.real_qemu

SINCE_10 = pytest.mark.qemu_versions(since=(10, 0))
PLACES = {
    "stopped": ("blockdev-add", "stop", "transaction", "migrate", "cont"),
    "live": ("blockdev-add", "migrate", "transaction", "migrate-continue", "cont"),
    "background": ("blockdev-add", "stop", "migrate", "transaction", "cont"),
    "image": ("add-fd", "blockdev-add", "snapshot-save", "transaction", "blockdev-del"),
}
"""By capture, where the matrix kills; the long script takes all (`tests.crash.campaign`)."""

LONG = pytest.mark.long
SAMPLE = [
    pytest.param("stopped", "transaction", True, marks=LONG),
    ("stopped", "cont", False),
    pytest.param("live", "migrate", True, marks=LONG),
    ("live", "migrate-continue", True),
    pytest.param("background", "transaction", True, marks=[SINCE_10, LONG]),
    pytest.param("background", "cont", True, marks=SINCE_10),
    ("image", "transaction", True),
    *(
        pytest.param("image", command, after, marks=LONG)
        for command in PLACES["image"]
        for after in (False, True)
        if (command, after) != ("transaction", True)
    ),
]


def apply_and_kill(vm, capture, command, folder, *, after):
    """`snapplan apply`, killed just before QEMU reads a command, or when it has answered it."""
    request = folder / "request.yaml"
    request.write_text(external_request(vm, capture))
    with Gate(vm, command) as gate:
        store = folder / "store"
        running = subprocess.Popen(
            [SNAPPLAN, "apply", request, "--vm", gate.path, "--store", store],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        gate.kill(running, after=after)
    return store


def recover(vm, store):
    with Gate(vm, "nothing") as gate:
        done = snapplan("recover", "--vm", gate.path, "--store", store, "--json")
    assert done.returncode == 0, done.stderr
    return as_json(done)["recovered"]


def killed_and_recovered(qemu, folder, capture, command, *, after):
    """Every part or none; files, nodes and settings as before, or the whole snapshot; and once only."""
    vm = start_mixed(qemu)
    before = account_of(vm)
    store = apply_and_kill(vm, capture, command, folder, after=after)
    [done] = recover(vm, store)
    assert recover(vm, store) == []
    [vm_store] = Store(store).vms()
    if done["end"] == "done":
        assert vm_store.manifest("a") is not None
        assert held(vm, DISKS) == {disk: ["a"] for disk in DISKS}
        made = {path.name for path in vm.directory.iterdir()} - set(before["files"])
        assert made == {"a.state", f"a.{FIRMWARE}.qcow2"}
    else:
        assert vm_store.manifests().found == ()
        assert account_of(vm) == before
    assert_guest_unharmed(vm)


def both_die(qemu, folder, capture, command, *, after):
    """QEMU is killed too: every part or none is in the images and beside them, and they are sound."""
    vm = start_mixed(qemu)
    files = {path.name for path in vm.directory.iterdir()}
    store = apply_and_kill(vm, capture, command, folder, after=after)
    vm.process.kill()
    vm.process.wait()
    [ended] = recover_the_dead(vm, store)
    assert_whole_or_nothing(vm, files, whole=ended["end"] == "done")


def qemu_dies(qemu, folder, capture, command):
    """QEMU alone is killed, when a command is on its way to it: snapplan repairs the images itself."""
    vm = start_mixed(qemu)
    files = {path.name for path in vm.directory.iterdir()}
    request, store = folder / "request.yaml", folder / "store"
    request.write_text(external_request(vm, capture))
    with Gate(vm, command) as gate:
        running = subprocess.Popen(
            [SNAPPLAN, "apply", request, "--vm", gate.path, "--store", store, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        gate.wait_arrived()
        vm.process.kill()
        vm.process.wait()
    said, stderr = running.communicate()
    assert running.returncode == 20, stderr
    assert "QEMU is gone" in json.loads(said)["error"]["vm-state"]
    assert as_json(snapplan("recover", "--store", store, "--json"))["pending"] == []
    assert_whole_or_nothing(vm, files, whole=False)


def recover_the_dead(vm, store):
    gone = ("recover", "--vm", vm.directory / "gate", "--store", store, "--json")
    done = snapplan(*gone)
    assert done.returncode == 0, done.stderr
    return as_json(done)["recovered"]


def assert_whole_or_nothing(vm, files, *, whole):
    tags = {disk: ["a"] if whole else [] for disk in DISKS}
    assert_images(vm, tags, leaks_allowed=DISKS)
    made = {path.name for path in vm.directory.iterdir()} - files
    assert made == ({"a.state", f"a.{FIRMWARE}.qcow2"} if whole else set())
    if whole:
        assert_sound(vm.directory / f"a.{FIRMWARE}.qcow2")


def assert_sound(overlay: Path):
    command = [qemu_img_binary(), "check", "--output=json", overlay]
    found = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)
    assert "corruptions" not in found, found


@pytest.mark.sample(1)
@pytest.mark.parametrize(("capture", "command", "after"), SAMPLE)
def test_a_killed_run_is_recovered(qemu, tmp_path, capture, command, after):
    """SIGKILL of snapplan just before QEMU reads a command, or when it has answered it."""
    killed_and_recovered(qemu, tmp_path, capture, command, after=after)


@pytest.mark.parametrize(
    ("capture", "command"),
    [
        pytest.param("stopped", "cont", marks=LONG),
        ("live", "transaction"),
        pytest.param("background", "cont", marks=SINCE_10),
        pytest.param("image", "transaction", marks=LONG),
    ],
)
def test_both_die_and_what_is_left_is_repaired(qemu, tmp_path, capture, command):
    """SIGKILL of both when a part of it was made."""
    both_die(qemu, tmp_path, capture, command, after=True)


@pytest.mark.parametrize(
    ("capture", "command"),
    [
        pytest.param("stopped", "blockdev-add", marks=LONG),
        ("stopped", "migrate"),
        pytest.param("live", "migrate-continue", marks=LONG),
        pytest.param("background", "cont", marks=SINCE_10),
        pytest.param("image", "snapshot-save", marks=LONG),
    ],
)
def test_qemu_dies_and_what_is_left_is_repaired(qemu, tmp_path, capture, command):
    """SIGKILL of QEMU alone: the run undoes what it left, on the images and beside them."""
    qemu_dies(qemu, tmp_path, capture, command)
