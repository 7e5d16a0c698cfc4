"""Crash cases on a real QEMU: a client killed anywhere leaves all or nothing, and what was there."""

import json
import signal
import subprocess
import time

import pytest

from planner.experiment import crashing
from planner.experiment.case import run_case
from planner.experiment.experiment import cases_of
from planner.experiment.reading import read_experiment
from planner.experiment.result import State
from planner.experiment.running import in_processes, on_workers, one_by_one
from planner.host.version import snapplan_version
from planner.run.pump import ask_facts
from planner.verbs.recover import recover
from tests.live.scratch import none_left
from tests.support.forked import SNAPPLAN
from tests.support.qemu import qemu_binary
from tests.unit.test_experiment_workers import by_case

pytestmark = pytest.mark.real_qemu

MONOLITHIC = ["snapshot-save", "job-dismiss"]
TRANSACTIONAL = ["stop", "snapshot-save", "job-dismiss", "transaction", "cont"]


def file_text(kind="crash", **vary):
    axes = {"qemu": {"here": qemu_binary()}} | {
        key.replace("_", "-"): value for key, value in vary.items()
    }
    return json.dumps({"experiment": "c", "kind": kind, "vary": axes})


SEEDS = {"sequence_seed": {"from": 0, "to": 50}}
POINTS = {"design": ["transactional"], "point": {"from": 1, "to": 50}}


def cases(**vary):
    return cases_of(read_experiment(file_text(**vary), "/file", (), None, None), {})


def alone(point, design="transactional", **vary):
    (case,) = cases(design=[design], point=[point], **vary)
    return run_case(case, snapplan_version())


def test_a_killed_save_is_undone_and_what_was_there_is_whole():
    """When every part was made, and the guest stands: nothing of it is left, nothing else is harmed."""
    found = alone(9)
    assert found.problems == ()
    crash = found.crash
    assert (crash.killed, crash.end, crash.left, crash.findings) == (
        "before cont",
        "undone",
        (),
        (),
    )


@pytest.mark.long
@pytest.mark.parametrize("dies", ["client", "client-and-qemu"])
@pytest.mark.parametrize(
    ("design", "commands"), [("monolithic", MONOLITHIC), ("transactional", TRANSACTIONAL)]
)
def test_each_point_of_a_save_leaves_all_or_nothing(design, commands, dies):
    """Before and after each command, and past the last one."""
    places = [f"{when} {command}" for command in commands for when in ("before", "after")]
    points = {"from": 1, "to": len(places) + 1}
    wanted = cases(design=[design], point=points, dies=[dies])
    found = {each.settings["point"]: each.crash for each in one_by_one(wanted)}
    assert [found[point].killed for point in sorted(found)] == [*places, ""]
    assert found[len(places) + 1].end == "done"
    for crash in found.values():
        assert crash.end in ("done", "undone")
        assert (crash.left, crash.findings) == ((), ())


@pytest.mark.long
def test_two_processes_come_to_what_one_does():
    """Every case, where it was killed, and what came of it."""
    wanted = cases(design=["monolithic", "transactional", "live"], point=[2, 9, 40])
    with in_processes(2) as client:
        found = by_case(on_workers(client, wanted, print))
    assert found == by_case(one_by_one(wanted))
    assert {each.state for each in found.values()} == {State.DONE}


@pytest.mark.long
def test_a_design_that_this_qemu_cannot_do_is_refused():
    """Before anything is killed."""
    found = alone(1, "background", disks=[1])
    assert found.state in (State.DONE, State.REFUSED)
    assert found.crash is None or found.crash.end == "undone"


@pytest.mark.long
def test_what_a_bad_recovery_leaves_is_seen(monkeypatch):
    """One that does nothing: the guest stands, parts are there, and the run is unfinished."""

    async def nothing(_context):
        return []

    async def stands(_machine):
        return True

    monkeypatch.setattr(crashing, "recover", nothing)
    monkeypatch.setattr(crashing.Machine, "guest_goes_on", stands)
    crash = alone(9).crash
    assert crash.end == "nothing"
    told = " ".join((*crash.left, *crash.findings))
    for words in ("'experiment' (id 2) is still there", "it was 'running'", "a run is unfinished"):
        assert words in told


@pytest.mark.long
def test_a_snapshot_that_is_harmed_is_seen(monkeypatch):
    """A recovery that deletes a part of the snapshot that was there before."""

    async def harms(context):
        done = await recover(context)
        facts = await ask_facts(context.backend)
        (part,) = facts.disks[1].snapshots
        arguments = {"device": facts.disks[1].root, "id": part.id, "name": part.name}
        command = "blockdev-snapshot-delete-internal-sync"
        await context.backend.execute(command, arguments, 30.0)
        return done

    monkeypatch.setattr(crashing, "recover", harms)
    crash = alone(9).crash
    assert (crash.end, crash.whole) == ("undone", False)
    assert any("disk1" in words for words in crash.findings)
    assert any("disk1" in words for words in crash.left) is False


@pytest.mark.long
def test_a_client_that_ends_otherwise_than_by_its_death_is_a_case_that_failed(monkeypatch):
    """What it said last is told."""
    monkeypatch.setattr(crashing.sys, "executable", "/bin/false")
    found = alone(1)
    assert [each.code for each in found.problems] == ["case-failed"]
    assert "the client ended with 1" in found.problems[0].message


@pytest.mark.long
@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "text", [file_text("lockstep", **SEEDS), file_text(**POINTS)], ids=["lockstep", "crash"]
)
def test_whatever_stops_it_no_process_and_no_file_is_left(tmp_path, scratch, text, number, jobs):
    """Neither QEMU nor client; the results so far are kept."""
    file = tmp_path / "file.yaml"
    file.write_text(text)
    words = [SNAPPLAN, "experiment", "run", file, "-o", tmp_path / "out", "--jobs", jobs]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "out").glob("cases/*.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        run.send_signal(number)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert "results so far are kept" in said
    assert "Traceback" not in said
    assert none_left(scratch)
    assert list(scratch.iterdir()) == []
    kept = [json.loads(path.read_text()) for path in (tmp_path / "out/cases").iterdir()]
    assert {each["state"] for each in kept} == {"done"}
