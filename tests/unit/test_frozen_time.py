"""The pump bounds the time for which file systems are frozen, with a real agent's channel."""

import asyncio

from backends.guest_agent import GuestAgent
from planner.run.phases import Phase
from planner.run.ports import CommandRefused, ConnectionLost, Event, NoReply
from planner.run.pump import Pump
from planner.save.save_machine import SaveMachine
from tests.support.agent import FREEZE, STATUS, THAW, FakeAgent, Misbehaviour
from tests.unit.build import two_disks
from tests.unit.fake_vm import LOST, FakeVm, Strike, named_images
from tests.unit.test_freezing import frozen, plan

SHORT_S = 3


class Backend:
    """The fake VM as a QMP peer that never answers a command that is told to hang."""

    def __init__(self, vm, hangs=""):
        self.vm = vm
        self.hangs = hangs

    async def execute(self, command, arguments, timeout_s):
        if command == self.hangs:
            self.hangs = ""
            await asyncio.wait_for(asyncio.Event().wait(), timeout_s)
        sent = type("Asked", (), {"command": command, "arguments": arguments})
        response = self.vm.send(sent)
        if hasattr(response, "error_class"):
            raise CommandRefused(response.error_class, response.description)
        if hasattr(response, "lost"):
            raise (ConnectionLost if response.lost else NoReply)(response.why)
        return response.value

    async def connect(self, _):
        pass

    async def wait_for_event(self, _):
        raise NoReply("no event")

    def pending_events(self) -> tuple[Event, ...]:
        return tuple(self.vm.take_events())


def run_with(fake, *strikes, hangs="", at_most=SHORT_S):
    the_facts = named_images(two_disks())
    program = plan("transactional", the_request=frozen(at_most=at_most)).program
    vm = FakeVm.of(the_facts, *strikes)

    async def whole():
        agent = GuestAgent(fake.path)
        try:
            return await Pump(
                SaveMachine.on(program, the_facts), Backend(vm, hangs), agent=agent
            ).run()
        finally:
            await agent.close()

    return asyncio.run(whole()), vm


def assert_as_before(outcome, vm, fake):
    assert outcome.phase is Phase.UNDONE
    assert not fake.frozen
    assert not any(vm.nodes.values())
    assert vm.running


def test_a_frozen_guest_is_captured_and_thawed(tmp_path):
    """The agent's side shows the order."""
    with FakeAgent(tmp_path / "ga") as fake:
        outcome, _ = run_with(fake, at_most=60)
        assert outcome.phase is Phase.DONE
        assert fake.names == [STATUS, STATUS, FREEZE, THAW]


def test_a_capture_that_hangs_ends_with_the_frozen_time_and_is_undone(tmp_path):
    """Its own deadline is minutes; the file systems may be frozen for a second."""
    with FakeAgent(tmp_path / "ga") as fake:
        outcome, vm = run_with(fake, hangs="transaction")
        assert outcome.failure.code == "frozen-too-long"
        assert_as_before(outcome, vm, fake)
        assert fake.names == [STATUS, STATUS, FREEZE, THAW, STATUS]


def test_a_freeze_that_hangs_ends_with_the_frozen_time_and_is_thawed(tmp_path):
    """The freeze may be done later than it is waited for: the thaw comes behind it."""
    with FakeAgent(tmp_path / "ga", script={FREEZE: [Misbehaviour.HANG]}) as fake:
        outcome, vm = run_with(fake)
        assert outcome.failure.code == "agent-silent"
        assert_as_before(outcome, vm, fake)


def test_every_misbehaviour_of_the_agent_ends_thawed_and_undone(tmp_path):
    """Refused, dropped, garbled: whatever the agent does at a freeze or a thaw, once."""
    odd = [
        Misbehaviour.REFUSE,
        Misbehaviour.DROP,
        Misbehaviour.GARBAGE,
        Misbehaviour.WRONG,
        Misbehaviour.NOTHING,
    ]
    for command in (FREEZE, THAW):
        for number, what in enumerate(odd):
            path = tmp_path / f"{command}{number}"
            with FakeAgent(path, script={command: [what]}) as fake:
                outcome, vm = run_with(fake, at_most=60)
                assert_as_before(outcome, vm, fake)


def test_an_agent_that_dies_while_frozen_is_reported(tmp_path):
    """Nobody can thaw then, and the run says so instead of calling it undone."""
    with FakeAgent(tmp_path / "ga", script={FREEZE: [Misbehaviour.DIE]}) as fake:
        outcome, vm = run_with(fake, at_most=60)
        assert outcome.phase is Phase.INCOMPLETE
        assert [p.code for p in outcome.left] == ["file-systems-frozen"]
        assert not any(vm.nodes.values())


def test_an_agent_that_says_done_and_did_nothing_is_asked_again(tmp_path):
    """What counts is that the status says thawed, not that a thaw was answered."""
    script = {FREEZE: [Misbehaviour.DROP], THAW: [Misbehaviour.NOTHING]}
    with FakeAgent(tmp_path / "ga", script=script) as fake:
        outcome, vm = run_with(fake, at_most=60)
        assert_as_before(outcome, vm, fake)
        assert fake.names.count(THAW) == 2


def test_a_lost_qmp_connection_does_not_keep_the_guest_frozen(tmp_path):
    """The agent has a socket of its own."""
    with FakeAgent(tmp_path / "ga") as fake:
        outcome, vm = run_with(fake, Strike("transaction", LOST), at_most=60)
        assert_as_before(outcome, vm, fake)
        assert outcome.failure.code == "connection-lost"
