"""Copies of disks as parts: of one instant while the guest writes, restored, undone, recovered."""

import subprocess
from pathlib import Path

import pytest

from planner.store.store import Store
from tests.live.faults import assert_guest_unharmed
from tests.live.gate import Gate
from tests.live.restores import restored, store
from tests.live.runs import SNAPPLAN, as_json, snapplan
from tests.support import guest
from tests.support.fixtures import long
from tests.support.images import qemu_img
from tests.support.qemu import qemu_img_binary
from tests.support.topology import two_disks

pytestmark = pytest.mark.real_qemu

TOO_SHORT = 1_200_000
"""Bytes of a file in which the images of these guests have room, and a copy has not."""


def request_for(vm, state="{internal: disk0}", more=""):
    copy = f"{{copy: {vm.directory / 'copy.qcow2'}{more}}}"
    return f"tag: a\nmachine-state: {state}\ndisks: {{disk0: internal, disk1: {copy}}}\n"


def account(vm):
    """Everything that a failed run must leave as it was."""
    return {
        "files": sorted(path.name for path in vm.directory.iterdir() if path.name != "store"),
        "nodes": sorted(name for name in vm.nodes() if not name.startswith("#")),
        "inserted": [block["inserted"]["node-name"] for block in vm.execute("query-block")],
        "tags": vm.tags("disk0"),
        "jobs": vm.execute("query-jobs"),
        "status": vm.status(),
    }


@pytest.mark.parametrize("more", ["", *long(", format: raw")], ids=["qcow2", "raw"])
def test_a_copy_is_made_restored_and_deleted(qemu, more):
    """Memory, a snapshot and a copy of one instant: the guest goes on from them, and finds no fault."""
    vm = qemu.start(two_disks(guest=True))
    before = vm.wait_guest(2)[-1]
    nodes = account(vm)["nodes"]
    request = request_for(vm, more=more)
    done = snapplan("apply", "-", "--vm", vm.qmp_path, *store(vm), text=request)
    assert done.returncode == 0, done.stderr
    copy = vm.directory / "copy.qcow2"
    size = vm.topology.disk("disk1").size_bytes
    assert copy.stat().st_blocks * 512 >= size, "its room stays taken"
    assert (copy.stat().st_size == size) == bool(more), "raw is the disk's bytes, and no more"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert account(vm)["nodes"] == nodes, "the disk's own chain is as before"
    assert account(vm)["jobs"] == []
    later = vm.wait_guest(3, since=len(vm.console()))[-1]
    deep = ["--deep"] if more else []
    assert snapplan("verify", "a", *deep, "--vm", vm.qmp_path, *store(vm)).returncode == 0
    manifest = as_json(done)["manifest"]
    content = copy.read_bytes()
    vm.end()
    with restored(vm, Path(manifest), "--yes", *store(vm)) as again:
        counters = again.wait_guest(3)
        assert before < counters[0] < later
        assert "start" not in again.console(), "it did not boot"
        refused = snapplan("delete", "a", "--vm", again.qmp_path, "--yes", *store(vm))
        assert refused.returncode == 10
        codes = {problem["code"] for problem in as_json(refused)["error"]["problems"]}
        assert "part-needed" in codes
    assert copy.read_bytes() == content, "a restore writes to its overlay"
    [each] = as_json(snapplan("restore", "list", *store(vm)))["restores"]
    dropped = snapplan("restore", "drop", each["name"], "--yes", *store(vm))
    assert dropped.returncode == 0, dropped.stderr
    gone = snapplan("delete", "a", "--offline", "--yes", *store(vm))
    assert gone.returncode == 0, gone.stderr
    assert not copy.exists()


@pytest.mark.parametrize("more", ["", *long(", format: raw")], ids=["qcow2", "raw"])
def test_a_copy_that_cannot_be_written_is_undone(qemu, more):
    """After `cont`: the job fails, and no file, node, job or snapshot is left; the guest runs."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(2)
    vm.execute("stop")  # it writes nothing meanwhile: on QEMU before 11 a write of its would fail
    qdev = next(b["qdev"] for b in vm.execute("query-block") if "disk1" in b["qdev"])
    far = f'qemu-io -d {qdev} "write -P 7 4M 64k"'  # zeroes take no new room in a raw file
    vm.execute("human-monitor-command", {"command-line": far})
    before = account(vm)
    limit = ["prlimit", "--pid", str(vm.process.pid), f"--fsize={TOO_SHORT}"]
    subprocess.run(limit, check=True)
    request = request_for(vm, "none", more)
    done = snapplan("apply", "-", "--vm", vm.qmp_path, *store(vm), text=request)
    assert (done.returncode, as_json(done)["error"]["code"]) == (20, "job-failed"), done.stderr
    assert account(vm) == before
    vm.execute("cont")
    assert_guest_unharmed(vm)


def test_a_host_without_room_is_seen_before_anything_begins(qemu, tmp_path):
    """The file's room is taken first: the guest never stands, and its writes never fail."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(2)
    before = account(vm)
    request = tmp_path / "request.yaml"
    request.write_text(request_for(vm))
    command = ["prlimit", f"--fsize={TOO_SHORT}", SNAPPLAN, "apply", request]
    done = subprocess.run(
        [*command, "--vm", vm.qmp_path, *store(vm)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, as_json(done)["error"]["code"]) == (20, "qemu-img-failed")
    assert account(vm) == before
    assert "STOP" not in {event["event"] for event in vm.events}


def killed(vm, command, folder, *, after, state="{internal: disk0}", more=""):
    """`snapplan apply`, killed just before QEMU reads a command, or when it has answered it."""
    request = folder / "request.yaml"
    request.write_text(request_for(vm, state, more))
    with Gate(vm, command) as gate:
        running = subprocess.Popen(
            [SNAPPLAN, "apply", request, "--vm", gate.path, "--store", vm.directory / "store"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        gate.kill(running, after=after)


@pytest.mark.parametrize(
    ("command", "after"),
    [
        ("transaction", True),
        *(pytest.param(*p, marks=pytest.mark.long) for p in (
            ("blockdev-add", True), ("stop", True), ("cont", False), ("cont", True),
            ("blockdev-del", False), ("blockdev-del", True),
        )),
    ],
)  # fmt: skip
def test_a_killed_run_is_recovered(qemu, tmp_path, command, after):
    """The copy is cancelled, and everything is as before."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(2)
    before = account(vm)
    killed(vm, command, tmp_path, after=after)
    done = snapplan("recover", "--vm", vm.qmp_path, *store(vm))
    assert done.returncode == 0, done.stderr
    assert [each["end"] for each in as_json(done)["recovered"]] == ["undone"]
    assert account(vm) == before
    assert_guest_unharmed(vm)


@pytest.mark.parametrize(
    ("after", "more"), [(False, ""), pytest.param(True, ", format: raw", marks=pytest.mark.long)]
)
def test_a_killed_run_whose_copy_is_whole_is_kept(qemu, tmp_path, after, more):
    """It was seen whole, and all else was done: `recover` closes and names it, and records it."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(2)
    nodes = account(vm)["nodes"]
    killed(vm, "job-dismiss", tmp_path, after=after, state="none", more=more)
    done = snapplan("recover", "--vm", vm.qmp_path, *store(vm))
    assert done.returncode == 0, done.stderr
    [each] = as_json(done)["recovered"]
    assert each["end"] == "done"
    assert (account(vm)["nodes"], account(vm)["jobs"]) == (nodes, [])
    copy = vm.directory / "copy.qcow2"
    assert (copy.stat().st_mode & 0o777, account(vm)["tags"]) == (0o600, ["a"])
    verified = snapplan("verify", "a", "--deep", "--vm", vm.qmp_path, *store(vm))
    assert verified.returncode == 0, verified.stdout
    vm.wait_guest(2, since=len(vm.console()))
    vm.end()
    raw = vm.directory / "raw"
    kind = "raw" if more else "qcow2"
    qemu_img(qemu_img_binary(), "convert", "-f", kind, "-O", "raw", copy, raw)
    # Of one round: the guest writes to disk0 before disk1.
    assert vm.counter_in_image("disk0", "a") - guest.last_counter(raw.read_bytes()) in (0, 1)


@pytest.mark.parametrize("command", long("transaction", "cont"))
def test_a_copy_whose_qemu_dies_leaves_nothing(qemu, tmp_path, command):
    """Both are killed: the half of a copy is removed, the images are sound."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(2)
    files = account(vm)["files"]
    killed(vm, command, tmp_path, after=True)
    vm.process.kill()
    vm.process.wait()
    gone = snapplan("recover", "--vm", vm.directory / "gate", *store(vm))
    assert gone.returncode == 0, gone.stderr
    left = {path.name for path in vm.directory.iterdir()} - {"store"}
    assert left <= {*files}
    assert vm.image_tags("disk0") == []
    [vm_store] = Store(vm.directory / "store").vms()
    assert vm_store.manifests().found == ()


@pytest.mark.parametrize(
    ("state", "background"),
    [
        pytest.param("{{image: {0}/state.qcow2}}", False, marks=pytest.mark.long),
        pytest.param("{{external: {0}/state, capture: background}}", True, marks=pytest.mark.long),
    ],
    ids=["image", "background"],
)
def test_a_copy_beside_machine_state_of_its_own(qemu, state, background):
    """Begun in one pause, and of one instant: the guest goes on from them, and finds no fault."""
    vm = qemu.start(two_disks(guest=True))
    if background and vm.version < (10, 0):
        pytest.skip("no background capture before QEMU 10 (fact 41)")
    before = vm.wait_guest(2)[-1]
    request = request_for(vm, state.format(vm.directory))
    done = snapplan("apply", "-", "--vm", vm.qmp_path, *store(vm), text=request)
    assert done.returncode == 0, done.stderr
    assert account(vm)["jobs"] == []
    later = vm.wait_guest(3, since=len(vm.console()))[-1]
    vm.end()
    with restored(vm, Path(as_json(done)["manifest"]), "--yes", *store(vm)) as again:
        counters = again.wait_guest(3)
        assert before < counters[0] < later
        assert "start" not in again.console(), "it did not boot"
