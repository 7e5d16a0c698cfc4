"""A real qemu-storage-daemon: its exports are disks, and a snapshot of them is whole or not there."""

import json
import subprocess

import pytest

from planner.store.store import Store
from tests.live.gate import Gate
from tests.live.runs import SNAPPLAN, as_json, snapplan
from tests.support.outside import folder
from tests.support.storage_daemon import DISKS, check_images, storage_daemon

pytestmark = pytest.mark.real_qemu

EXPORTED = {f"{disk}-export": disk for disk in DISKS}
LONG = pytest.mark.long
KILLS = [
    pytest.param("blockdev-add", True, marks=LONG),
    ("transaction", False),
    ("transaction", True),
]


@pytest.fixture
def daemon():
    with folder() as where, storage_daemon(where) as running:
        yield running


def request(daemon, tag="a"):
    overlay = daemon.directory / f"data.{tag}.qcow2"
    disks = f"{{disk0: internal, disk1-export: internal, data: {{external: {overlay}}}}}"
    return f"tag: {tag}\nmachine-state: none\ndisks: {disks}\n"


def account_of(daemon):
    """What must be as before where nothing was made."""
    files = {path.name for path in daemon.directory.iterdir()} - {"gate", "request.yaml"}
    return daemon.tags(), daemon.exported(), files


def run(command, *arguments, vm, store, text="", code=0):
    done = snapplan(command, *arguments, "--vm", vm, "--store", store, "--json", text=text)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, done.stderr
    return as_json(done)


def test_its_exports_are_saved_listed_verified_and_deleted(daemon, tmp_path):
    """Internal and overlay parts in one transaction; the clients go on, and find what they wrote."""
    vm = {"vm": daemon.qmp_path, "store": tmp_path}
    before = account_of(daemon)
    daemon.client("disk0", "write -P 1 0 1M")
    daemon.client("data", "write -P 1 0 1M")
    seen = as_json(snapplan("inspect", "--vm", daemon.qmp_path, "--json"))
    assert seen["machine"] == ""
    assert [each["name"] for each in seen["disks"]] == sorted(DISKS)
    drafted = snapplan("inspect", "--vm", daemon.qmp_path, "--request").stdout
    assert "machine-state: none" in drafted
    assert snapplan("plan", "-", "--vm", daemon.qmp_path, text=drafted).returncode == 0
    made = run("apply", "-", text=request(daemon), **vm)
    assert made["pause-us"] is None
    assert {part["disk"] for part in made["parts"]} == {"disk0", "disk1"}
    assert daemon.exported() == {**EXPORTED, "data-export": made_node(daemon)}
    daemon.client("disk0", "write -P 2 0 1M")
    daemon.client("data", "write -P 2 0 512k")
    assert run("verify", "a", **vm)["whole"]
    [listed] = run("list", **vm)["snapshots"]
    assert (listed["tag"], listed["standing"]) == ("a", "complete")
    run("delete", "a", "--yes", "--overlays", "commit", **vm)
    assert account_of(daemon) == before
    daemon.client("disk0", "read -P 2 0 1M")
    daemon.client("data", "read -P 2 0 512k", "read -P 1 512k 512k")


def made_node(daemon):
    [node] = [name for name in daemon.tags() if name.startswith("snapplan-")]
    return node


def test_no_machine_state_and_no_pause(daemon, tmp_path):
    """It has no machine, and nothing of it can stand still."""
    text = request(daemon).replace("none", "{internal: disk0}", 1) + "run-state-after: paused\n"
    refused = run("apply", "-", text=text, vm=daemon.qmp_path, store=tmp_path, code=10)
    problems = {(p["code"], p["subject"]) for p in refused["error"]["problems"]}
    assert problems == {("no-machine", "machine-state"), ("no-machine", "run-state-after")}


def test_what_fails_is_undone(daemon, tmp_path):
    """Another client takes the tag on one disk: the transaction fails, and no part is left."""
    before = account_of(daemon)
    asked = daemon.directory / "request.yaml"
    asked.write_text(request(daemon))
    with Gate(daemon, "transaction") as gate:
        words = [SNAPPLAN, "apply", asked, "--vm", gate.path, "--store", tmp_path, "--json"]
        running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        gate.wait_arrived()
        daemon.execute("blockdev-snapshot-internal-sync", device="disk1", name="a")
        gate.release()
        said, stderr = running.communicate()
    assert running.returncode == 20, stderr
    assert json.loads(said)["error"]["vm-state"]
    daemon.execute("blockdev-snapshot-delete-internal-sync", device="disk1", name="a")
    assert account_of(daemon) == before


def killed(daemon, command, store, *arguments, after):
    with Gate(daemon, command) as gate:
        words = [SNAPPLAN, *arguments, "--vm", gate.path, "--store", store]
        running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        gate.kill(running, after=after)


def recovered(daemon, store):
    """What `recover` says, over the daemon's own socket: the process is known behind a relay, too."""
    at = ("--vm", daemon.qmp_path, "--store", store, "--json")
    [done] = as_json(snapplan("recover", *at))["recovered"]
    assert as_json(snapplan("recover", *at))["recovered"] == []
    return done["end"]


@pytest.mark.parametrize(("command", "after"), KILLS)
def test_a_killed_client(daemon, tmp_path, command, after):
    """Every part, recorded, or none; and the clients see what they wrote."""
    before = account_of(daemon)
    asked = daemon.directory / "request.yaml"
    asked.write_text(request(daemon))
    killed(daemon, command, tmp_path, "apply", asked, after=after)
    daemon.client("data", "write -P 3 0 64k")
    if recovered(daemon, tmp_path) == "done":
        [store] = Store(tmp_path).vms()
        assert store.manifest("a") is not None
        assert daemon.tags()["disk0"] == daemon.tags()["disk1"] == ["a"]
        assert made_node(daemon)
    else:
        assert account_of(daemon) == before
    daemon.client("data", "read -P 3 0 64k")


@pytest.mark.parametrize("client_too", [pytest.param(True, marks=LONG), False])
def test_a_killed_daemon(daemon, tmp_path, client_too):
    """What it leaves in its images is found there: every part or none."""
    asked = daemon.directory / "request.yaml"
    asked.write_text(request(daemon))
    with Gate(daemon, "transaction") as gate:
        words = [SNAPPLAN, "apply", asked, "--vm", gate.path, "--store", tmp_path, "--json"]
        running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        gate.wait_arrived()
        if client_too:
            running.kill()
        daemon.kill()
    said, stderr = running.communicate()
    if client_too:
        gone = ("recover", "--vm", daemon.directory / "gate", "--store", tmp_path, "--json")
        [done] = as_json(snapplan(*gone))["recovered"]
        assert done["end"] == "undone"
    else:
        assert running.returncode == 20, stderr
        assert "QEMU is gone" in json.loads(said)["error"]["vm-state"]
    assert not (daemon.directory / "data.a.qcow2").exists()
    check_images(daemon)


@pytest.mark.parametrize("command", ["job-complete", pytest.param("blockdev-del", marks=LONG)])
def test_a_delete_that_is_killed_while_it_merges(daemon, tmp_path, command):
    """No guest stands meanwhile, so what a client writes then must not be merged away."""
    vm = {"vm": daemon.qmp_path, "store": tmp_path}
    before = account_of(daemon)
    daemon.client("data", "write -P 1 0 1M")
    run("apply", "-", text=request(daemon), **vm)
    daemon.client("data", "write -P 2 0 1M")
    words = ("delete", "a", "--yes", "--overlays", "commit")
    killed(daemon, command, tmp_path, *words, after=True)
    daemon.client("data", "write -P 3 0 64k")
    assert recovered(daemon, tmp_path) == "done"
    daemon.client("data", "read -P 3 0 64k", "read -P 2 64k 960k")
    assert account_of(daemon) == before
