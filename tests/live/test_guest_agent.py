"""The guest agent's client against the real qemu-ga.

The agent runs on this machine, which is nobody's guest: it is told to refuse every command that
freezes, so no test can freeze a file system here.
"""

import asyncio
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.guest_agent import GuestAgent
from planner.run.ports import CommandRefused
from tests.unit.test_guest_agent import LONG_S, talk

pytestmark = pytest.mark.real_qemu

BINARY = Path(sys.executable).with_name("qemu-ga")
NEVER = "guest-fsfreeze-freeze,guest-fsfreeze-freeze-list"


@contextmanager
def real_agent(directory):
    """A qemu-ga that refuses to freeze; its socket's path."""
    assert BINARY.exists(), "no qemu-ga: run script/bootstrap"
    path = directory / "ga.sock"
    arguments = ["-m", "unix-listen", "-p", path, "-t", directory, "-f", directory / "pid"]
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", BINARY, *arguments, f"--block-rpcs={NEVER}"],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(path, process)
        yield path
    finally:
        process.kill()
        process.wait()


def wait_for(path, process):
    while process.poll() is None:
        with socket.socket(socket.AF_UNIX) as sock:
            if sock.connect_ex(str(path)) == 0:
                return
    raise AssertionError("qemu-ga ended")


@pytest.fixture
def agent_path(tmp_path):
    with real_agent(tmp_path) as path:
        yield path


def test_the_real_agent_understands_what_is_asked(agent_path):
    """Status and thaw are answered; the freeze that it may not do is refused in its own words."""

    async def scenario(agent):
        with pytest.raises(CommandRefused, match="disabled"):
            await agent.freeze(LONG_S)
        return await agent.status(LONG_S), await agent.thaw(LONG_S)

    assert talk(agent_path, scenario) == ("thawed", 0)


@pytest.mark.parametrize(
    "left",
    [
        b'{"execute": "guest-pi',
        b'{"execute": "guest-info"}\n{"execute": "guest-ping"}\n',
        b"\x00\xfe]]}{\n",
    ],
)
def test_the_real_agent_forgets_what_an_earlier_client_left(agent_path, left):
    """Half a command, unread answers and noise in the channel do not change what we are told."""

    async def scenario(agent):
        assert await agent.status(LONG_S) == "thawed"
        assert agent._client is not None
        agent._client._writer.write(left)
        return await agent.thaw(LONG_S)

    assert talk(agent_path, scenario) == 0


def test_a_second_client_finds_the_real_agent_in_step(agent_path):
    """A client that leaves half a command and goes does not harm the one that comes next."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(agent_path))
        sock.sendall(b'{"execute": "gues')  # no whole one: an answer that nobody reads ends qemu-ga

    async def several():
        answers = []
        for _ in range(3):
            agent = GuestAgent(str(agent_path))
            answers.append(await agent.status(LONG_S))
            await agent.close()
        return answers

    assert asyncio.run(several()) == ["thawed"] * 3
