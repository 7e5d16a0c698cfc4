"""The guest agent's client, against an agent that misbehaves in every way that channels allow."""

import asyncio
import socket
from contextlib import ExitStack, suppress

import pytest

from backends.guest_agent import GuestAgent
from planner.run.ports import CommandRefused, ConnectionLost, NoReply
from tests.support.agent import FREEZE, STATUS, SYNC, THAW, FakeAgent, Misbehaviour

LONG_S = 30.0
SHORT_S = 0.2
HANG_S = 3.0  # long enough for the freeze to be sent on a busy machine
STALE = (
    b'{"return": "frozen"}\n{"return": 7}\n{"error": {"class": "GenericError", "desc": "old"}}\n'
)
HALF = b'{"return": "thaw'
NOISE = b"\xfe\x00 no JSON \xff{]\n\n"


def talk(path, scenario):
    """Run a conversation with the agent at a path, and end it."""

    async def whole():
        agent = GuestAgent(str(path))
        try:
            return await scenario(agent)
        finally:
            await agent.close()

    return asyncio.run(whole())


async def everything(agent):
    return [
        await agent.status(LONG_S),
        await agent.freeze(LONG_S),
        await agent.status(LONG_S),
        await agent.thaw(LONG_S),
        await agent.status(LONG_S),
    ]


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("leftovers", [b"", STALE, STALE + HALF, HALF, NOISE, b"\xff" + STALE])
def test_what_an_earlier_client_left_in_the_channel_is_not_taken_for_an_answer(
    tmp_path, leftovers, ids
):
    """Freeze, thaw and status are answered by the agent now, whatever lay in the channel before."""
    with FakeAgent(tmp_path / "ga", leftovers=leftovers, ids=ids) as fake:
        answers = talk(fake.path, everything)
        assert answers == ["thawed", 2, "frozen", 2, "thawed"]
        assert fake.names == [STATUS, FREEZE, STATUS, THAW, STATUS]


def test_an_echo_of_an_earlier_number_does_not_bring_the_channel_into_step(tmp_path):
    """A delimited answer to somebody else's number is old, and what follows it too."""
    old = b'\xff{"return": 12345}\n{"return": "frozen"}\n'
    with FakeAgent(tmp_path / "ga", leftovers=old, ids=False) as fake:
        assert talk(fake.path, lambda agent: agent.status(LONG_S)) == "thawed"


def test_every_command_comes_behind_a_synchronisation(tmp_path):
    """The agent may have been restarted between two calls, so each begins anew."""
    with FakeAgent(tmp_path / "ga") as fake:
        talk(fake.path, everything)
        assert fake.synchronised == 5


def test_a_silent_agent_is_given_up_in_time_and_may_answer_the_next_call(tmp_path):
    """A guest without an agent answers nothing: the call ends, and the next one is in step."""
    with FakeAgent(tmp_path / "ga", script={SYNC: [Misbehaviour.SILENT]}) as fake:

        async def scenario(agent):
            with pytest.raises(NoReply, match=r"within 0\.2 s"):
                await agent.status(SHORT_S)
            return await agent.status(LONG_S)

        assert talk(fake.path, scenario) == "thawed"
        assert fake.names == [STATUS]  # the first one was never sent


@pytest.mark.parametrize("what", [Misbehaviour.HANG, Misbehaviour.DROP, Misbehaviour.GARBAGE])
def test_a_freeze_without_an_answer_may_have_been_done(tmp_path, what):
    """Nobody knows then, says the exception; status and thaw find it out."""
    with FakeAgent(tmp_path / "ga", script={FREEZE: [what]}) as fake:

        async def scenario(agent):
            with pytest.raises((NoReply, ConnectionLost)):
                await agent.freeze(HANG_S if what == Misbehaviour.HANG else LONG_S)
            return await agent.status(LONG_S), await agent.thaw(LONG_S)

        assert talk(fake.path, scenario) == ("frozen", 2)
        assert fake.frozen == 0


@pytest.mark.parametrize("command", [FREEZE, THAW, STATUS])
def test_an_answer_of_another_shape_is_none(tmp_path, command):
    """A number or a status of another type proves nothing."""
    script = {command: [Misbehaviour.WRONG]}
    with FakeAgent(tmp_path / "ga", script=script) as fake, pytest.raises(NoReply, match="two"):
        talk(fake.path, lambda agent: getattr(agent, command.split("-")[-1])(LONG_S))


def test_a_refusal_is_told_in_the_agents_own_words_and_the_channel_stays_in_step(tmp_path):
    """An agent that could not freeze says why, and answers the next call."""
    with FakeAgent(tmp_path / "ga", script={FREEZE: [Misbehaviour.REFUSE]}) as fake:

        async def scenario(agent):
            with pytest.raises(CommandRefused, match="failed to freeze /srv"):
                await agent.freeze(LONG_S)
            return await agent.status(LONG_S)

        assert talk(fake.path, scenario) == "thawed"


def test_an_agent_that_refuses_to_synchronise_is_a_refusal_not_a_silence(tmp_path):
    """Agents can be told to refuse any command; with ids, that is no old error."""
    script = {SYNC: [Misbehaviour.REFUSE]}
    with FakeAgent(tmp_path / "ga", script=script) as fake, pytest.raises(CommandRefused):
        talk(fake.path, lambda agent: agent.status(LONG_S))


def test_nobody_listens(tmp_path):
    """Where no agent's socket is, that is said at once."""
    with pytest.raises(ConnectionLost, match="No such file"):
        talk(tmp_path / "nowhere", lambda agent: agent.status(LONG_S))


def test_an_agent_that_dies_while_frozen_is_reported_as_gone(tmp_path):
    """The channel breaks, and then nobody listens."""
    with FakeAgent(tmp_path / "ga", script={FREEZE: [Misbehaviour.DIE]}) as fake:

        async def scenario(agent):
            with pytest.raises(ConnectionLost):
                await agent.freeze(LONG_S)
            with pytest.raises(ConnectionLost, match="refused"):
                await agent.thaw(LONG_S)

        talk(fake.path, scenario)
        assert fake.frozen == 2


def test_the_connection_is_kept_from_freeze_to_thaw(tmp_path):
    """QEMU serves one client a socket: nobody else may come between freeze and thaw."""
    with FakeAgent(tmp_path / "ga") as fake:

        async def scenario(agent):
            await agent.freeze(LONG_S)
            client = agent._client
            await agent.thaw(LONG_S)
            return agent._client is client

        assert talk(fake.path, scenario)


def test_a_full_queue_of_connections_is_waited_for(tmp_path):
    """An agent that has not yet taken leave of its last clients is no broken channel."""
    with FakeAgent(tmp_path / "ga") as fake, ExitStack() as others:

        async def scenario(agent):
            earlier = [others.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(8)]
            for sock in earlier:
                sock.setblocking(False)
                with suppress(BlockingIOError):
                    sock.connect(fake.path)
            asyncio.get_running_loop().call_later(0.1, others.close)
            return await agent.status(LONG_S)

        assert talk(fake.path, scenario) == "thawed"
