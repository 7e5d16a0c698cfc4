"""Which snapshots a run may delete: a table, one line for each situation."""

import pytest

from planner.model.facts import SnapshotInfo
from planner.run.ownership import CaptureStep, StepOutcome, find_own

AT = 5_000  # microseconds, QEMU's clock, at the step's begin


def made(snapshot_id, at_us=AT + 1):
    return SnapshotInfo(snapshot_id, "t", date_ns=at_us * 1000)


def job(attempt, *disks, since=AT):
    return CaptureStep(disks or ("a",), attempt, atomic=False, since_us=since)


def cut(attempt, *disks, since=AT):
    return CaptureStep(disks or ("a", "b"), attempt, atomic=True, since_us=since)


APPLIED, FAILED, UNKNOWN = StepOutcome.APPLIED, StepOutcome.FAILED, StepOutcome.UNKNOWN
NEW, OTHER, OLDER = made("1"), made("2"), made("1", AT - 1)

TABLE = {
    # name: (captures, fresh snapshots by disk, own ids by disk, disks that are unclear)
    "nothing sent": ((), {"a": (NEW,)}, {}, []),
    "job applied": ((job(APPLIED),), {"a": (NEW,)}, {"a": "1"}, []),
    "job unknown, done": ((job(UNKNOWN),), {"a": (NEW,)}, {"a": "1"}, []),
    "job unknown, not done": ((job(UNKNOWN),), {"a": ()}, {}, []),
    "job unknown, half done": ((job(UNKNOWN, "a", "b"),), {"a": (NEW,), "b": ()}, {"a": "1"}, []),
    "job failed, its clean-up failed too": ((job(FAILED),), {"a": (NEW,)}, {"a": "1"}, []),
    "job, dated just when it began": ((job(UNKNOWN),), {"a": (made("1", AT),)}, {"a": "1"}, []),
    "job, an older one of the tag": ((job(UNKNOWN),), {"a": (OLDER,)}, {}, []),
    "job, an older one and a new one": (
        (job(APPLIED),), {"a": (OLDER, OTHER)}, {"a": "2"}, [],
    ),
    "job, two new ones": ((job(APPLIED),), {"a": (NEW, OTHER)}, {}, ["a"]),
    "job, a disk of another step": ((job(APPLIED),), {"a": (NEW,), "b": (NEW,)}, {"a": "1"}, []),
    "cut applied": ((cut(APPLIED),), {"a": (NEW,), "b": (NEW,)}, {"a": "1", "b": "1"}, []),
    "cut failed": ((cut(FAILED),), {"a": (NEW,), "b": (NEW,)}, {}, []),
    "cut unknown, done": ((cut(UNKNOWN),), {"a": (NEW,), "b": (NEW,)}, {"a": "1", "b": "1"}, []),
    "cut unknown, not done": ((cut(UNKNOWN),), {"a": (), "b": ()}, {}, []),
    "cut unknown, one disk by another client": ((cut(UNKNOWN),), {"a": (NEW,), "b": ()}, {}, []),
    "cut applied, one part deleted since": ((cut(APPLIED),), {"a": (NEW,), "b": ()}, {"a": "1"}, []),
    "cut, one disk twice": ((cut(APPLIED),), {"a": (NEW,), "b": (NEW, OTHER)}, {"a": "1"}, ["b"]),
    "job and cut": (
        (job(APPLIED), cut(APPLIED, "b", "c")),
        {"a": (NEW,), "b": (NEW,), "c": (NEW,)},
        {"a": "1", "b": "1", "c": "1"},
        [],
    ),
    "job applied, cut failed": (
        (job(APPLIED), cut(FAILED, "b")), {"a": (NEW,), "b": (NEW,)}, {"a": "1"}, [],
    ),
    "no clock known": ((job(UNKNOWN, since=0),), {"a": (OLDER,)}, {"a": "1"}, []),
    "a disk that the look does not show": ((job(APPLIED),), {}, {}, []),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_only_what_is_provably_the_run_s_own_is_taken(name):
    """Own by disk and id; what cannot be told apart is reported and left alone."""
    captures, fresh, own, unclear = TABLE[name]
    found = find_own(captures, fresh)
    assert {disk: snapshot.id for disk, snapshot in found.own.items()} == own
    assert [problem.subject for problem in found.unclear] == unclear
    assert {problem.code for problem in found.unclear} <= {"ownership-unclear"}
