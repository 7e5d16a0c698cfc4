"""However long a run waits, its journal grows only where something has changed."""

from planner.run.actions import Poll, Returned, Send
from planner.run.journal import Intent, journal_line, read_journal
from planner.run.journal_values import plain
from planner.run.observation import baseline_of
from planner.run.ports import Event
from planner.run.recorder import Recorder
from planner.run.run_context import RunContext
from planner.run.waits import await_copy
from tests.unit.build import facts, plan, qcow2, whole
from tests.unit.fake_vm import named_images
from tests.unit.journals import Memory, header_of
from tests.unit.test_await_copy import jobs

ROUNDS = 1000
VM = named_images(facts(qcow2("disk0"), vm_uuid="u"))
CONCLUDED = [{**jobs(copy="")[0], "status": "concluded"}]
STOP = Event("STOP", {}, 7)


def waiting():
    return await_copy(RunContext(baseline_of(VM)), "copy", jobs(copy=""))


def recorded(*, interrupted_at=None, event_at=None, rounds=ROUNDS):
    """The records of a wait of so many rounds, at whose end the job is concluded and dismissed."""
    memory = Memory([journal_line(0, header_of(plan("monolithic", VM, whole("disk0")), VM))])
    recorder, flow, count = Recorder(memory), waiting(), 0
    action = next(flow)
    while True:
        recorder.before(action, forward=True)
        count += isinstance(action, Poll)
        reply = CONCLUDED if count == rounds else jobs(copy="")
        response = Returned(reply if action == Send("query-jobs") else {})
        here = isinstance(action, Poll)
        events = (STOP,) if here and count == event_at else ()
        recorder.after(action, response, events, interrupted=here and count == interrupted_at)
        try:
            action = flow.send(response)
        except StopIteration:
            recorder.flush()
            return read_journal("".join(memory.lines).encode()).records


def assert_replays(records):
    """Each record is what the wait asks for next, as far as the records go."""
    flow = waiting()
    action = next(flow)
    for number, record in enumerate(records, start=1):
        assert record.action == plain(action)
        if isinstance(record, Intent):
            continue
        try:
            action = flow.send(record.response)
        except StopIteration:
            assert number == len(records)


def test_of_a_long_wait_the_last_round_is_recorded():
    """As many records as of a wait of one round, and they lead to the same place."""
    records = recorded()
    assert len(records) == len(recorded(rounds=1))
    assert_replays(records)
    assert any(getattr(record, "response", None) == Returned(CONCLUDED) for record in records)


def test_what_happened_meanwhile_is_recorded():
    """An event, and a wish to stop, in their rounds."""
    plain_ones = len(recorded())
    for told in (recorded(event_at=500), recorded(interrupted_at=500)):
        assert_replays(told)
        assert len(told) == plain_ones + 2
    assert STOP in [
        event for record in recorded(event_at=500) for event in getattr(record, "events", ())
    ]


def test_a_killed_wait_stands_at_its_beginning():
    """What is held back and never written is a round that changed nothing."""
    memory = Memory()
    recorder = Recorder(memory)
    for _ in range(3):
        for action in (Poll(0.25), Send("query-jobs")):
            recorder.before(action, forward=True)
            recorder.after(action, Returned(jobs(copy="")), (), interrupted=False)
    assert memory.lines == []
    recorder.before(Send("stop"), forward=True)
    assert len(memory.lines) == 3  # the last round, and the intent
