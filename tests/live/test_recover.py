"""A real QEMU whose snapplan is killed: `snapplan recover` finishes or undoes what it left."""

import json
import subprocess

import pytest

from planner.store.store import Store
from tests.live.faults import (
    assert_guest_unharmed,
    assert_images,
    assert_nothing_left,
    request,
    start,
)
from tests.live.gate import Gate
from tests.live.runs import SNAPPLAN, as_json, held, snapplan

pytestmark = pytest.mark.real_qemu

# The long script takes every command of every design, before and after (tests/crash/campaign.py).
SAMPLE = [
    ("monolithic", "snapshot-save", True),
    pytest.param("monolithic", "job-dismiss", False, marks=pytest.mark.long),
    ("transactional", "transaction", True),
    ("transactional", "cont", False),
    ("transactional", "cont", True),
]


def apply_and_kill(vm, design, command, folder, *, after):
    """`snapplan apply`, killed just before QEMU reads a command, or when it has answered it."""
    (vm.directory / "request.yaml").write_text(request())
    with Gate(vm, command) as gate:
        running = subprocess.Popen(
            [
                SNAPPLAN, "apply", vm.directory / "request.yaml", "--vm", gate.path,
                "--store", folder, "--design", design,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        gate.kill(running, after=after)


def pending(folder):
    return json.loads(snapplan("recover", "--store", folder, "--json").stdout)["pending"]


def recover(vm, folder):
    """At the address of the run, through a gate that holds nothing."""
    with Gate(vm, "nothing") as gate:
        return as_json(snapplan("recover", "--vm", gate.path, "--store", folder, "--json"))


def killed_and_recovered(qemu, folder, design, command, *, after):
    """Every part or none, the guest goes on, and a second recover finds nothing to do."""
    vm = start(qemu)
    apply_and_kill(vm, design, command, folder, after=after)
    [standing] = pending(folder)
    assert standing["tag"] == "a"
    assert design in standing["what"]
    with Gate(vm, "nothing") as gate:
        again = ("apply", vm.directory / "request.yaml", "--vm", gate.path, "--store", folder)
        refused = snapplan(*again, "--json")
    assert as_json(refused)["error"]["code"] == "recovery-pending"
    done = recover(vm, folder)["recovered"]
    assert recover(vm, folder)["recovered"] == []
    assert pending(folder) == []
    [vm_store] = Store(folder).vms()
    if done[0]["end"] == "done":
        assert vm_store.manifest("a") is not None
        assert held(vm, ["disk0", "disk1"]) == {"disk0": ["a"], "disk1": ["a"]}
        assert_guest_unharmed(vm)
    else:
        assert vm_store.manifests().found == ()
        assert_nothing_left(vm)


def both_die(qemu, folder, design, command, *, after):
    """QEMU is killed too: every part or none is in the images, and they are sound."""
    vm = start(qemu)
    apply_and_kill(vm, design, command, folder, after=after)
    vm.process.kill()
    vm.process.wait()
    gone = ("recover", "--vm", vm.directory / "gate", "--store", folder, "--json")
    [done] = as_json(snapplan(*gone))["recovered"]
    tags = ["a"] if done["end"] == "done" else []
    assert_images(vm, {"disk0": tags, "disk1": tags}, leaks_allowed=("disk0", "disk1"))


@pytest.mark.sample(2)
@pytest.mark.parametrize(("design", "command", "after"), SAMPLE)
def test_a_killed_run_is_recovered(qemu, tmp_path, design, command, after):
    """SIGKILL of snapplan just before QEMU reads a command, or when it has answered it."""
    killed_and_recovered(qemu, tmp_path, design, command, after=after)


@pytest.mark.parametrize(
    ("design", "command"), [("monolithic", "job-dismiss"), ("transactional", "cont")]
)
def test_both_die_and_the_images_are_repaired(qemu, tmp_path, design, command):
    """SIGKILL of both when every part was made."""
    both_die(qemu, tmp_path, design, command, after=False)


@pytest.mark.parametrize(
    ("design", "command"),
    [
        pytest.param("monolithic", "job-dismiss", marks=pytest.mark.long),
        ("transactional", "transaction"),
        pytest.param("transactional", "cont", marks=pytest.mark.long),
    ],
)
def test_a_connection_is_cut_and_the_journal_ends_with_the_run(qemu, tmp_path, design, command):
    """snapplan comes back, ends the run by itself, and leaves nothing to recover."""
    vm = start(qemu)
    (vm.directory / "request.yaml").write_text(request())
    with Gate(vm, command) as gate:
        where = ("--vm", gate.path, "--store", tmp_path, "--design", design, "--json")
        running = subprocess.Popen(
            [SNAPPLAN, "apply", vm.directory / "request.yaml", *where],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        gate.wait_arrived()
        gate.cut()
        said, stderr = running.communicate(timeout=60)
    assert pending(tmp_path) == []
    assert running.returncode == 20, stderr
    assert json.loads(said)["error"]["code"]
    assert_nothing_left(vm)
