"""snapplan is killed in a load or a delete on a real QEMU, and `recover` puts it right."""

import dataclasses
import json
import signal
import subprocess

import pytest

from planner.parts.manifest_text import read_manifest
from planner.store.store import Store, VmIdentity
from tests.live.faults import assert_guest_unharmed, assert_images, start
from tests.live.gate import Gate
from tests.live.runs import SNAPPLAN, held, snapplan
from tests.live.snapshots import facts_of, save
from tests.support.qemu import run_qemu
from tests.support.topology import two_disks

pytestmark = pytest.mark.real_qemu

BOTH = ["disk0", "disk1"]
UUID = "5a8c7d4e-3f61-4b0e-9d0a-7a1f0c2b9e11"
DELETE = "blockdev-snapshot-delete-internal-sync"
STEPS = [
    pytest.param("stop", marks=[pytest.mark.long, pytest.mark.qemu_versions(before=(10, 2))]),
    pytest.param("snapshot-load"),
    *(pytest.param(step, marks=pytest.mark.long) for step in ("job-dismiss", "cont")),
]


@pytest.fixture
def recorded(qemu, tmp_path):
    """A VM whose snapshot `a` is in a store: the VM, the store, the VM's share of it."""
    vm = start(qemu, two_disks(guest=True, extra_args=("-uuid", UUID)))
    manifest = read_manifest(save(vm, "a", BOTH, "disk0").read_text())
    store = Store(tmp_path / "store")
    share = store.vm(VmIdentity.of(facts_of(vm), str(vm.qmp_path)))
    share.write(manifest)
    vm.wait_guest(2, since=len(vm.console()))
    return vm, store, share


def killed_at(vm, store, command, held_back, *more, done=False, qemu_too=False):
    """Run snapplan until it sends a command, and kill it: before QEMU has it, or when it is done."""
    with Gate(vm, held_back) as gate:
        arguments = [command, "a", "--vm", gate.path, "--store", store.root, *more]
        with subprocess.Popen(
            [SNAPPLAN, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            gate.wait_arrived()
            if done:
                process.send_signal(signal.SIGSTOP)
                gate.release()
                wait_done(vm, held_back)
            if qemu_too:
                vm.process.kill()
                vm.process.wait(30)
            process.kill()
        return gate.path


def wait_done(vm, command):
    """Wait until QEMU has done what was held back."""

    def done():
        jobs = vm.execute("query-jobs")
        return {
            "stop": lambda: vm.status() == "paused",
            "snapshot-load": lambda: [job["status"] for job in jobs] == ["concluded"],
            "job-dismiss": lambda: jobs == [],
            "cont": lambda: vm.status() == "running",
            DELETE: lambda: len(held(vm, BOTH)["disk0"]) == 0,
        }[command]()

    vm.wait_until(done, f"QEMU has done {command}")


def recover(vm_path, store, *more):
    done = snapplan("recover", "--vm", vm_path, "--store", store.root, "--json", *more)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.sample(1)
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_in_a_load(recorded, step, done):
    """Loaded whole, or taken back; the guest runs, nothing is pending, and the snapshot is whole."""
    vm, store, _ = recorded
    killed_at(vm, store, "load", step, done=done)
    pending = snapplan("recover", "--store", store.root).stdout
    assert "load 'a'" in pending
    refused = snapplan("load", "a", "--vm", vm.qmp_path, "--store", store.root, "--json")
    assert (refused.returncode, json.loads(refused.stdout)["error"]["code"]) == (
        10,
        "recovery-pending",
    )
    code, said, stderr = recover(vm.qmp_path, store)
    assert code == 0, stderr
    loaded = step != "stop" and (done or step != "snapshot-load")
    assert [each["end"] for each in said["recovered"]] == ["done" if loaded else "undone"]
    assert vm.execute("query-jobs") == []
    assert_guest_unharmed(vm)
    assert recover(vm.qmp_path, store)[1]["recovered"] == []
    assert snapplan("verify", "a", "--vm", vm.qmp_path, "--store", store.root).returncode == 0


def test_qemu_is_killed_too(recorded):
    """Nobody can say what the disks hold: that is said, and a fresh QEMU loads the snapshot."""
    vm, store, _ = recorded
    address = killed_at(vm, store, "load", "snapshot-load", qemu_too=True)
    code, said, stderr = recover(address, store)
    assert code == 21, stderr
    problems = {(each["code"], each["subject"]) for each in said["error"]["problems"]}
    assert {("disk-reverted", "disk0"), ("disk-reverted", "disk1")} <= problems
    with run_qemu(dataclasses.replace(vm.topology, paused=True), vm.directory) as fresh:
        where = ("--vm", fresh.qmp_path, "--store", store.root)
        done = snapplan("load", "a", *where, "--run-state-after", "running")
        assert done.returncode == 0, done.stderr
        fresh.wait_guest(3)
        assert_guest_unharmed(fresh)


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_killed_in_a_delete(recorded, done):
    """It is finished: no part and no manifest is left, and the guest has noticed nothing."""
    vm, store, share = recorded
    killed_at(vm, store, "delete", DELETE, "--yes", done=done)
    assert share.manifest("a") is not None
    code, said, stderr = recover(vm.qmp_path, store)
    assert code == 0, stderr
    assert [each["end"] for each in said["recovered"]] == ["done"]
    assert share.manifest("a") is None
    assert held(vm, BOTH) == {"disk0": [], "disk1": []}
    assert_guest_unharmed(vm)
    assert_images(vm, {"disk0": [], "disk1": []})


def test_there_is_a_way_back(recorded):
    """What was there before the load is kept, recorded, and loads."""
    vm, store, share = recorded
    since = vm.wait_guest(8, since=len(vm.console()))[-1]
    where = ("--vm", vm.qmp_path, "--store", store.root, "--json")
    taken = snapplan("load", "a", *where, "--keep-current", "a")
    assert (taken.returncode, json.loads(taken.stdout)["error"]["exit-code"]) == (10, 10)
    assert vm.status() == "running"
    done = snapplan("load", "a", *where, "--keep-current", "kept")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["way-back"] == "kept"
    assert vm.status() == "running"
    vm.wait_guest(2, since=len(vm.console()))
    assert [each.tag for each in share.manifests().found] == ["a", "kept"]
    vm.execute("stop")  # what the guest says from here on, it says after the load
    loaded_at = len(vm.console())
    back = snapplan("load", "kept", *where)
    assert back.returncode == 0, back.stderr
    vm.execute("cont")
    assert vm.wait_guest(2, since=loaded_at)[0] > since, "it is where it was before the first load"
    assert_guest_unharmed(vm)


@pytest.mark.long
@pytest.mark.parametrize("step", ["snapshot-save", "snapshot-load"])
def test_killed_while_the_way_back_is_made(recorded, step):
    """Both the snapshot of what was there and the load are finished or taken back."""
    vm, store, share = recorded
    killed_at(vm, store, "load", step, "--keep-current", "kept")
    code, said, stderr = recover(vm.qmp_path, store)
    assert code == 0, stderr
    assert len(said["recovered"]) == (2 if step == "snapshot-save" else 1)
    assert_guest_unharmed(vm)
    assert recover(vm.qmp_path, store)[1]["recovered"] == []
    tags = [each.tag for each in share.manifests().found]
    assert held(vm, BOTH) == {"disk0": tags, "disk1": tags}
