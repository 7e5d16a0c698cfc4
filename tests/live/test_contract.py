"""On a real QEMU: what a run that failed came to is told as data, and `recover --forget` in JSON."""

import contextlib
import json
import signal
import subprocess

import pytest

from planner.store.store import Store
from tests.live.faults import request, start
from tests.live.gate import Gate
from tests.live.runs import SNAPPLAN, as_json, snapplan
from tests.live.test_recover import apply_and_kill, pending
from tests.support.contract import progress_lines

pytestmark = pytest.mark.real_qemu

DELETION = "blockdev-snapshot-delete-internal-sync"


@contextlib.contextmanager
def held_at(vm, command, *arguments):
    """A snapplan whose command has not reached QEMU yet; afterwards it is let pass."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Gate(vm, command) as gate:
        words = [
            SNAPPLAN,
            *arguments,
            "--vm",
            gate.path,
            "--store",
            vm.directory / "store",
            "--json",
        ]
        with subprocess.Popen(words, **pipes) as process:
            try:
                gate.wait_arrived()
                yield process
                gate.release()
                printed, _ = process.communicate(timeout=120)
            finally:
                process.kill()
    process.said = json.loads(printed)["error"]


def test_a_save_that_is_stopped_tells_what_was_undone(qemu):
    """Exit code 130: the guest runs, both parts are deleted, nothing is left, and it stood still."""
    vm = start(qemu)
    (vm.directory / "request.yaml").write_text(request())
    design = ("--design", "transactional")
    with held_at(vm, "transaction", "apply", vm.directory / "request.yaml", *design) as process:
        process.send_signal(signal.SIGINT)
    said = process.said
    assert process.returncode == said["exit-code"] == 130
    assert (said["run-state"], said["left"]) == ("running", [])
    assert said["undone"]
    assert said["pause-us"] > 0


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "verb", "code"),
    [
        ("snapshot-load", ("load", "a"), 22),
        pytest.param(DELETION, ("delete", "a", "--yes"), 20, marks=pytest.mark.long),
    ],
)
def test_a_load_and_a_delete_whose_vm_is_silent_tell_what_is_left(qemu, command, verb, code):
    """What is left stands among the problems, and alone; of the run state nothing is claimed."""
    vm = start(qemu)
    (vm.directory / "request.yaml").write_text(request())
    with Gate(vm, "nothing") as gate:
        where = ("--vm", gate.path, "--store", vm.directory / "store")
        assert snapplan("apply", vm.directory / "request.yaml", *where).returncode == 0
    with held_at(vm, command, *verb) as process:
        vm.process.kill()
        vm.process.wait()
    said = process.said
    assert process.returncode == said["exit-code"] == code, said
    assert said["left"]
    assert all(each in said["problems"] for each in said["left"])
    assert (said["run-state"], said["pause-us"]) == ("", None)


def test_a_recovery_tells_its_phases(qemu, tmp_path):
    """`recover --progress json`: the phases up to the end that its JSON names, a line each."""
    vm = start(qemu)
    apply_and_kill(vm, "transactional", "cont", tmp_path, after=False)
    with Gate(vm, "nothing") as gate:
        where = ("--vm", gate.path, "--store", tmp_path)
        done = snapplan("recover", *where, "--progress", "json", "--json")
    [recovered] = as_json(done)["recovered"]
    phases = [each["phase"] for each in progress_lines(done.stderr) if each["kind"] == "phase"]
    assert phases[-1] == recovered["end"] == "undone"
    assert "undoing" in phases


def test_runs_are_forgotten_in_json(qemu, tmp_path):
    """What was forgotten is told as what is pending is, and then nothing is pending."""
    vm = start(qemu)
    apply_and_kill(vm, "transactional", "cont", tmp_path, after=False)
    [standing] = pending(tmp_path)
    with Gate(vm, "nothing") as gate:
        where = ("--vm", gate.path, "--store", tmp_path, "--forget", "--json")
        asked = snapplan("recover", *where)
        assert (asked.returncode, as_json(asked)["error"]["code"]) == (2, "confirmation-missing")
        done = snapplan("recover", *where, "--yes")
    assert (done.returncode, as_json(done)["forgotten"]) == (0, [standing])
    assert pending(tmp_path) == []
    [vm_store] = Store(tmp_path).vms()
    assert list(vm_store.journal_files()) == []
