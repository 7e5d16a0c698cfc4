"""A job that still works when the connection is back is waited for, by what is told of it."""

from pathlib import Path

import pytest

from planner.compile.plan import compile_request
from planner.model.facts_text import read_facts
from planner.model.request_text import read_request
from planner.run.actions import AwaitEvent, NoAnswer, Reconnect, Returned, Send
from planner.run.observation import baseline_of
from planner.run.ports import Event
from planner.save.save_machine import SaveMachine

LOOK = Send(
    "query-named-block-nodes", {"flat": True}, then=(Send("query-jobs"), Send("query-status"))
)
EXAMPLES = Path(__file__).parents[2] / "specs" / "examples"


def machine():
    facts = read_facts((EXAMPLES / "one-disk.facts.json").read_text(), "facts")
    read = read_request((EXAMPLES / "one-disk.yaml").read_text(), "request")
    program = compile_request(read, facts, "monolithic").program
    return SaveMachine.of(program, baseline_of(facts)), program.steps[0].arguments["job-id"]


def job_told(job_id, status):
    return Event("JOB_STATUS_CHANGE", {"id": job_id, "status": status})


def drive_to_the_last_question(run, job_id):
    """Lose the connection in the save, and look: the job still runs."""
    run.start()
    run.tell(Returned(0))
    run.tell(NoAnswer("the test cut it", lost=True))
    assert isinstance(run.tell(Returned(0)), Reconnect)
    assert run.tell(Returned()) == LOOK
    assert run.tell(Returned([])) == Send("query-jobs")
    job = {"id": job_id, "type": "snapshot-save", "status": "running"}
    assert run.tell(Returned([job])) == Send("query-status")


RUNNING = Returned({"status": "running", "running": True})


def test_an_end_told_with_the_last_answer_is_not_waited_for():
    """Nothing more would be told, and the wait would last its whole minute."""
    run, job_id = machine()
    drive_to_the_last_question(run, job_id)
    action = run.tell(RUNNING, [job_told(job_id, "concluded")])
    assert action == LOOK


@pytest.mark.parametrize("last", ["concluded", "nothing"])
def test_other_events_are_not_its_end(last):
    """However many come first, the VM is looked at again once the job has ended or is silent."""
    run, job_id = machine()
    drive_to_the_last_question(run, job_id)
    action = run.tell(RUNNING)
    for event in (
        Event("STOP", {}),
        Event("RESUME", {}),
        job_told(job_id, "waiting"),
        Event("X", {}),
    ):
        assert isinstance(action, AwaitEvent)
        action = run.tell(Returned(), [event])
    assert isinstance(action, AwaitEvent)
    if last == "concluded":
        action = run.tell(Returned(), [job_told(job_id, "concluded")])
    else:
        action = run.tell(NoAnswer("no event", lost=False))
    assert action == LOOK
