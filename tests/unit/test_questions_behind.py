"""Questions that are sent behind a command: one round trip for all, and each has its own answer."""

import asyncio
import itertools

import pytest

from planner.compare import measuring, timed_backend
from planner.run.actions import ErrorReply, NoAnswer, Poll, Returned, Send, Tell
from planner.run.conversation import answers
from planner.run.journal import changes_something
from planner.run.observation import baseline_of
from planner.run.outcome import Outcome
from planner.run.phases import Phase
from planner.run.ports import CommandRefused, ConnectionLost, NoReply
from planner.run.pump import Pump
from planner.run.waits import await_run_state
from planner.save.save_machine import SaveMachine
from tests.unit.build import facts, plan, qcow2, whole
from tests.unit.fake_vm import FakeVm

VM = facts(qcow2("disk0"), qcow2("disk1"))
PROGRAM = plan("transactional", VM, whole("disk0", "disk1")).program
FIRST = Send("stop", {}, 60.0, then=(Send("query-status"), Send("query-jobs", timeout_s=5.0)))


class Peer:
    """Answers nothing until so many commands are there; then each with its own name, or as told."""

    def __init__(self, await_count: int, **instead) -> None:
        self.sent: list[tuple[str, float]] = []
        self.cancelled: list[str] = []
        self._count = await_count
        self._instead = instead
        self._all_here = asyncio.Event()

    async def execute(self, command, _, timeout_s):
        self.sent.append((command, timeout_s))
        if len(self.sent) == self._count:
            self._all_here.set()
        try:
            await self._all_here.wait()
            if command in self._instead:
                raise self._instead[command]
            if self._instead:
                await asyncio.sleep(0)  # the first one's answer is there before the others'
        except asyncio.CancelledError:
            self.cancelled.append(command)
            raise
        return command

    def pending_events(self):
        return ()


def told(action, peer):
    """What a machine that asks for one thing is told."""
    pump = Pump(SaveMachine.on(PROGRAM, VM), peer)
    return asyncio.run(asyncio.wait_for(pump._do(action), 60))


def test_they_are_sent_behind_it_in_order_before_its_answer():
    """The peer answers only once all three are there; their own time begins after the command's."""
    peer = Peer(3)
    response = told(FIRST, peer)
    assert [command for command, _ in peer.sent] == ["stop", "query-status", "query-jobs"]
    assert [timeout for _, timeout in peer.sent] == [60.0, 90.0, 65.0]
    assert response == Returned("stop", (Returned("query-status"), Returned("query-jobs")))


def test_a_refused_command_is_refused_whatever_the_questions_say():
    """Their answers are waited for all the same: a reply that nobody waits for is noise in the log."""
    peer = Peer(3, stop=CommandRefused("GenericError", "no"))
    assert told(FIRST, peer) == ErrorReply("GenericError", "no")
    assert peer.cancelled == []


def test_a_question_without_an_answer_says_so_for_itself():
    """The command was done; of the question nobody knows."""
    peer = Peer(3, **{"query-status": ConnectionLost("gone")})
    response = told(FIRST, peer)
    assert response.value == "stop"
    assert response.then == (NoAnswer("gone", lost=True), Returned("query-jobs"))


def test_after_a_command_without_an_answer_no_question_is_waited_for():
    """They would last as long again."""
    peer = Peer(3, stop=NoReply("too late"))
    assert told(FIRST, peer) == NoAnswer("too late", lost=False)
    assert peer.cancelled == ["query-status", "query-jobs"]


def test_a_question_is_no_round_trip_of_its_own(monkeypatch):
    """Its answer waits for what QEMU does for the command: that one took so long."""
    ticks = itertools.count()
    monkeypatch.setattr(timed_backend, "now_us", lambda: 2 ** next(ticks))
    timed = timed_backend.TimedBackend(Peer(3))
    told(FIRST, timed)
    behind = {span.command: span.behind for span in timed.spans}
    assert behind == {"stop": False, "query-status": True, "query-jobs": True}
    took = {span.command: span.end - span.begin for span in timed.spans}
    assert took["stop"] < max(took.values())
    measured = measuring._measurement(timed, Outcome(Phase.DONE, "running"), 0, 0, 0)
    assert (measured.longest_command, measured.longest_us) == ("stop", took["stop"])


def test_a_command_behind_a_question_makes_it_a_change():
    """So it has its intent in the journal, whoever puts one there by mistake."""
    assert not changes_something(Send("query-jobs", then=(Send("query-status"),)))
    assert changes_something(Send("query-jobs", then=(Send("stop"),)))


def flow_of(send, *responses):
    """What is asked for, and what the answers come to."""
    asking, asked = answers(send), []
    for response in (None, *responses):
        try:
            action = asking.send(response)
        except StopIteration as end:
            return asked, end.value
        asked.append(action)
    raise AssertionError("it asks for more")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_what_was_not_asked_is_asked_one_by_one(count):
    """As by a pump that knows nothing of them."""
    behind = (Returned("a"), Returned("b"))
    asked, got = flow_of(FIRST, Returned(0, behind[:count]), *behind[count:])
    assert asked == [FIRST, *FIRST.then[count:]]
    assert [each.value for each in got] == [0, "a", "b"]


def test_what_nobody_asked_for_is_left():
    """A journal that somebody wrote by hand answers more than there are questions."""
    more = Returned(0, (Returned("a"), Returned("b"), Returned("c")))
    assert [each.value for each in flow_of(FIRST, more)[1]] == [0, "a", "b"]


def test_nothing_is_asked_after_a_loss():
    """Neither behind the command itself nor behind a question."""
    lost = NoAnswer("gone", lost=True)
    assert flow_of(FIRST, lost) == ([FIRST], (lost,))
    assert flow_of(FIRST, Returned(0), lost)[0] == [FIRST, FIRST.then[0]]
    assert flow_of(FIRST, Returned(0, (Returned("a"), lost)))[0] == [FIRST]


def together(vm, action):
    """What the pump makes of an action on the fake VM, questions included."""
    response = vm.answer(action)
    if isinstance(action, Send) and action.then and isinstance(response, Returned):
        return Returned(response.value, tuple(vm.answer(each) for each in action.then))
    return response


def test_a_run_takes_the_answers_and_asks_nothing_twice():
    """A transactional run has seven round trips; each question is sent once."""
    vm, machine, sends = FakeVm.of(VM), SaveMachine.of(PROGRAM, baseline_of(VM)), []
    action = machine.start()
    while not isinstance(action, Outcome):
        sends += [action] if isinstance(action, Send) else []
        action = machine.tell(together(vm, action), vm.take_events())
    assert action.phase is Phase.DONE
    assert [(send.command, *(each.command for each in send.then)) for send in sends] == [
        ("stop", "query-status"),
        ("snapshot-save",),
        ("query-jobs",),
        ("job-dismiss",),
        ("transaction",),
        ("cont", "query-status"),
        ("query-named-block-nodes", "query-jobs", "query-status"),
    ]


@pytest.mark.parametrize("shown", ["running", "prelaunch"])
def test_the_run_state_behind_stop_is_looked_at(shown):
    """`stop` came back, and the VM shows something else: nothing is captured."""
    machine = SaveMachine.of(PROGRAM, baseline_of(VM))
    machine.start()
    machine.tell(Returned(0))
    status = Returned({"status": shown, "running": shown == "running"})
    action = machine.tell(Returned({}, (status,)))
    assert isinstance(action, Tell)
    assert shown in action.text
    assert machine.context.phase is Phase.INSPECTING


def test_a_run_state_on_its_way_is_asked_for_anew():
    """What was answered behind the command is looked at once."""
    context = SaveMachine.of(PROGRAM, baseline_of(VM)).context
    flow = await_run_state(
        context, "running", Returned({"status": "postmigrate", "running": False})
    )
    assert isinstance(next(flow), Poll)
    assert flow.send(Returned()) == Send("query-status")
    with pytest.raises(StopIteration):
        flow.send(Returned({"status": "running", "running": True}))
