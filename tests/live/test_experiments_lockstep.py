"""Cases in lockstep on a real QEMU: what differs is told, and workers come to what one process does."""

import contextlib
import json
import os
import signal

import pytest

from planner.experiment.case import run_case
from planner.experiment.experiment import cases_of
from planner.experiment.lockstep import comparing
from planner.experiment.lockstep.drawing import Sequence
from planner.experiment.lockstep.sides import SimulatedSide
from planner.experiment.reading import read_experiment
from planner.experiment.result import SequenceEnd, State
from planner.experiment.running import in_processes, on_workers, one_by_one
from planner.host.version import snapplan_version
from tests.live.scratch import none_left
from tests.support.impostors import DEAD, LIAR, impostor
from tests.support.qemu import qemu_binary, qemu_version
from tests.unit.test_experiment_workers import by_case, two_workers

pytestmark = pytest.mark.real_qemu


def cases(binary=None, limit_s=60, **vary):
    """The cases of a file over this QEMU; `_` in a key is `-`."""
    axes = {"qemu": {"here": str(binary or qemu_binary())}}
    axes |= {key.replace("_", "-"): value for key, value in vary.items()}
    plain = {"experiment": "l", "kind": "lockstep", "time-limit-s": limit_s, "vary": axes}
    return cases_of(read_experiment(json.dumps(plain), "/file", (), None, None), {})


def alone(found):
    (case,) = found
    return run_case(case, snapplan_version())


def test_two_workers_come_to_what_one_after_the_other_does():
    """Every sequence, and as many commands; all are alike."""
    wanted = cases(length=[3], sequence_seed=[0, 1])
    with two_workers() as client:
        found = by_case(on_workers(client, wanted, print))
    assert found == by_case(one_by_one(wanted))
    assert {each.lockstep.end for each in found.values()} == {SequenceEnd.WHOLE}


@pytest.mark.long
def test_two_processes_come_to_what_one_does_though_one_of_them_dies(scratch):
    """Commands of both kinds; the QEMU of a worker that is killed ends with it."""
    wanted = cases(commands=["snapshots", "copies"], sequence_seed={"from": 0, "to": 9})
    with in_processes(2) as client:
        first, *_ = client.run(os.getpid).values()
        results = on_workers(client, wanted, print)
        found = [next(results)]
        os.kill(first, signal.SIGKILL)
        found += results
        assert none_left(scratch)
    found = by_case(found)
    assert found == by_case(one_by_one(wanted))
    assert [each for each in found.values() if each.lockstep.differences] == []
    assert list(scratch.iterdir()) == []


def test_the_first_difference_is_told_with_its_command(monkeypatch):
    """The simulated QEMU plays another version than the real one is."""
    other = "11.1" if qemu_version() < (10, 0) else "7.2"
    monkeypatch.setattr(comparing, "SimulatedSide", lambda _, seed: SimulatedSide(other, seed))
    found = alone(cases()).lockstep
    assert (found.end, found.commands) == (SequenceEnd.DIFFERS, 1)
    assert json.loads(found.differences[0].command)["execute"]
    (nodes,) = (each for each in found.differences if each.what == "nodes")
    assert nodes.real != nodes.simulated


def struck(monkeypatch, number):
    """The QEMU of the next case gets a signal before its second command."""
    started = []
    start = comparing.start_qemu

    @contextlib.contextmanager
    def watched(*arguments):
        with start(*arguments) as vm:
            started.append(vm.process)
            yield vm

    class Striking(Sequence):
        def next(self):
            if started[1:]:
                os.kill(started[0].pid, number)
                started[0].wait()
            started.append(None)
            return super().next()

    monkeypatch.setattr(comparing, "start_qemu", watched)
    monkeypatch.setitem(comparing._DRAWS, "snapshots", Striking)


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("number", "state"),
    [(signal.SIGABRT, State.DONE), (signal.SIGKILL, State.FAILED), (signal.SIGTERM, State.FAILED)],
)
def test_a_qemu_that_ends_by_itself_is_a_difference_and_one_that_is_ended_is_none(
    monkeypatch, number, state
):
    """An abort is QEMU's own doing; what somebody else does to it says nothing of it."""
    struck(monkeypatch, number)
    found = alone(cases())
    assert found.state is state
    if state is State.DONE:
        (difference,) = found.lockstep.differences
        assert difference.what == "outcome"
        assert "SIGABRT" in difference.real
    else:
        assert [each.code for each in found.problems] == ["qemu-ended"]


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("source", "code"),
    [(LIAR, "reply-malformed"), (DEAD, "qemu-not-started"), (None, "qemu-not-started")],
)
def test_a_program_that_is_no_qemu_is_told(tmp_path, source, code):
    """It lies, ends by itself, or is not there: a result, and nothing is left."""
    binary = tmp_path / "nothing" if source is None else impostor(tmp_path, source)
    found = alone(cases(binary, limit_s=20))
    assert found.state is State.FAILED
    assert [each.code for each in found.problems] == [code]


@pytest.mark.long
def test_a_sequence_whose_time_is_up_has_failed():
    """It is tried again by the next run."""
    found = alone(cases(length=[1000], limit_s=3))
    assert [each.code for each in found.problems] == ["case-too-long"]
