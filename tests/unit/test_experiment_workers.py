"""Cases on Dask's workers: the same results as one after the other, and none is lost silently."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attrs import evolve

from planner.errors import CannotConnect, Refused
from planner.experiment import running
from planner.experiment.experiment import cases_of
from planner.experiment.reading import read_experiment
from planner.experiment.result import State
from planner.experiment.running import at_a_cluster, in_processes, on_workers, one_by_one
from tests.support.forked import run_snapplan

MATRIX = """
experiment: matrix
kind: explore
vary: {disks: [1, 2], design: [monolithic, transactional], faults: [none, one]}
"""


def matrix(text=MATRIX):
    return cases_of(read_experiment(text, "file", (), None, None), {})


def by_case(results):
    """Results without where and when they were found, which differ."""
    found = list(results)
    assert len({each.case for each in found}) == len(found)
    return {each.case: evolve(each, ran=None) for each in found}


@contextlib.contextmanager
def two_workers():
    """Two workers that are threads of this process: quick, and otherwise as processes are."""
    options = {"processes": False, "n_workers": 2, "threads_per_worker": 1}
    from distributed import Client

    with Client(dashboard_address="127.0.0.1:0", set_as_default=False, **options) as client:
        yield client


def test_two_workers_come_to_what_one_after_the_other_does():
    """Every case, the same states and verdicts."""
    cases, notes = matrix(), []
    with two_workers() as client:
        assert len(client.scheduler_info()["workers"]) == 2
        found = by_case(on_workers(client, cases, notes.append))
    assert found == by_case(one_by_one(cases))
    assert len(found) == 8
    assert notes == []


class Breaks(Exception):
    """What a case may never raise."""


def breaks(case, _version):
    """A stand-in for a worker that has other code: one case raises, one answers something else."""
    if case.settings["disks"] == 1:
        raise Breaks("of another version")
    return 7


def test_what_a_worker_does_not_answer_is_a_case_that_failed(monkeypatch):
    """It raised, or answered something else; the case is named."""
    monkeypatch.setattr(running, "run_case", breaks)
    cases = matrix()
    with two_workers() as client:
        found = by_case(on_workers(client, cases, print))
    assert set(found) == {case.id for case in cases}
    assert {each.state for each in found.values()} == {State.FAILED}
    said = {each.problems[0].message for each in found.values()}
    assert said == {"of another version", "the worker answered '7'"}
    assert {each.problems[0].code for each in found.values()} == {"worker-failed"}


def test_a_case_that_the_scheduler_forgets_is_a_case_that_failed():
    """Somebody cancelled it there; the others have their results."""
    cases = matrix()
    with two_workers() as client:
        submitted = []

        def submit(*args, **options):
            submitted.append(submit_there(*args, **options))
            if len(submitted) == len(cases):
                client.cancel(submitted[-1], force=True)
            return submitted[-1]

        submit_there, client.submit = client.submit, submit
        found = by_case(on_workers(client, cases, print))
    assert set(found) == {case.id for case in cases}
    last = found[cases[-1].id]
    assert (last.state, last.problems[0].code) == (State.FAILED, "worker-failed")
    assert "does not know it any more" in last.problems[0].message
    assert [each for each in found.values() if each.state is State.DONE]


def test_another_version_of_snapplan_on_a_worker_is_told(monkeypatch):
    """Its figures would be another's."""
    monkeypatch.setattr(running, "snapplan_version", lambda: "0.0.0")
    cases = matrix()[:1]
    with two_workers() as client:
        (found,) = on_workers(client, cases, print)
    assert found.state is State.FAILED
    assert found.problems[0].code == "worker-differs"


def test_no_scheduler_and_no_workers_are_told_at_once(monkeypatch):
    """Nothing waits for what may never come."""
    with (
        monkeypatch.context() as impatient
    ):  # a client ends in that time, too: one that is there has more
        impatient.setattr(running, "_CONNECT_S", 0.3)
        with pytest.raises(CannotConnect) as caught, at_a_cluster("tcp://127.0.0.1:9"):
            pass
        assert caught.value.code == "scheduler-unreachable"
        with pytest.raises(CannotConnect), at_a_cluster("what is this"):
            pass
    from distributed import LocalCluster

    empty = LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0")
    with empty, pytest.raises(Refused) as refused, at_a_cluster(empty.scheduler_address):
        pass
    assert refused.value.code == "workers-missing"


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    """One case after the other needs no Dask."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(Refused) as caught, in_processes(2):
        pass
    assert caught.value.problems[0].remedy == "pip install 'snapplan[experiments]'"
    assert not running.workers_installed()
    assert len(list(one_by_one(matrix()))) == 8


@pytest.mark.long
def test_processes_of_this_machine_speak_tls_and_one_that_dies_loses_nothing():
    """Its cases are run by the others, and come to the same."""
    cases = matrix(MATRIX.replace("[1, 2]", "[1, 2, 3, 4, 5]").replace("[none, one]", "[one, two]"))
    with in_processes(2) as client:
        workers = client.scheduler_info()["workers"]
        assert {name.split(":")[0] for name in workers} == {"tls"}
        first, *_ = client.run(os.getpid).values()
        results = on_workers(client, cases, print)
        found = [next(results)]
        os.kill(first, signal.SIGKILL)
        found += results
    assert by_case(found) == by_case(one_by_one(cases))


@pytest.mark.long
def test_the_command_line_on_two_processes_and_on_a_cluster(tmp_path):
    """`--jobs 2`, and `--scheduler` with two workers of its own: the same as `--jobs 1`."""
    file = tmp_path / "file.yaml"
    file.write_text(MATRIX)

    def verdicts(*options):
        out = tmp_path / "".join(re.findall("[a-z0-9]", "".join(options)))
        done = run_snapplan("experiment", "run", file, "-o", out, *options)
        assert done.returncode == 0, done.stderr
        lines = (out / "results.csv").read_text().splitlines()
        return [line.split(",")[:12] for line in lines]

    alone = verdicts("--jobs", "1")
    assert verdicts("--jobs", "2") == alone
    options = {"n_workers": 2, "threads_per_worker": 1, "local_directory": str(tmp_path)}
    from distributed import LocalCluster

    with LocalCluster(dashboard_address="127.0.0.1:0", **options) as cluster:
        assert verdicts("--scheduler", cluster.scheduler_address) == alone


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_on_workers_that_is_stopped_leaves_no_process(tmp_path, number):
    """What it has is kept, and its workers end with it."""
    file = tmp_path / "file.yaml"
    file.write_text(
        MATRIX.replace("[1, 2]", "[1, 2, 3, 4, 5, 6, 7]").replace("[none, one]", "[two]")
    )
    code = "from planner.cli.main import main; import sys; sys.argv[0] = 'snapplan'; main()"
    words = [sys.executable, "-c", code, "experiment", "run", file, "-o", tmp_path / "out"]
    words += ["--jobs", "2", "--progress", "json"]
    with subprocess.Popen(
        list(map(str, words)), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        for line in run.stderr:
            if '"step": 4' in line:
                break
        os.killpg(run.pid, number)  # as a terminal does
        said = run.stderr.read()
    assert run.returncode == 130, said
    assert "Traceback" not in said
    assert list((tmp_path / "out/cases").iterdir())
    deadline = time.monotonic() + 20
    while alive(run.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(run.pid) == []


def alive(group):
    """The processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, owner = path.read_text().rpartition(")")[2].split()[:3]
            if int(owner) == group and state != "Z":
                found.append((path.parent / "cmdline").read_text())
    return found
