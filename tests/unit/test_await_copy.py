"""Copies are waited for one after the other, and looked at together."""

import pytest

from planner.run.conversation import StepFailed
from planner.run.observation import baseline_of
from planner.run.run_context import RunContext
from planner.run.waits import await_copy
from tests.unit.build import facts, qcow2


def jobs(**errors):
    """A reply to `query-jobs`: a job without an error is at work."""
    return [
        {
            "id": name,
            "type": "backup",
            "status": "concluded" if error else "running",
            "current-progress": 0,
            "total-progress": 1,
            **({"error": error} if error else {}),
        }
        for name, error in errors.items()
    ]


def test_a_copy_beside_it_that_fails_ends_the_wait():
    """The guest may stand since then (fact 113), however long the other copy takes."""
    context = RunContext(baseline_of(facts(qcow2("a"))))
    next(await_copy(context, "long", jobs(long="", short=""), ("short",)))
    with pytest.raises(StepFailed) as failed:
        next(await_copy(context, "long", jobs(long="", short="No space"), ("short",)))
    assert failed.value.failure.code == "job-failed"
    assert "No space" in failed.value.failure.message
