"""A connection comes back to the same QEMU, or to none."""

import asyncio
import os

import pytest
from attrs import define, evolve

from planner.errors import CannotConnect
from planner.host.processes import process_of
from planner.run.steady import SteadyBackend

HERE = process_of(os.getpid())
DEAD = evolve(HERE, started_ticks=1)


@define
class Peer:
    """A backend whose next connection goes as the test says."""

    peer_pid: int | None
    code: str = ""
    closed: bool = False

    async def connect(self, timeout_s):
        del timeout_s
        if self.code:
            raise CannotConnect("no", code=self.code)

    async def close(self):
        self.closed = True


def connect_again(process, *, before=None, after=None, code=""):
    """The code of what a new connection comes to; empty: it is there."""
    peer = Peer(before)
    steady = SteadyBackend(peer, process)
    peer.peer_pid, peer.code = after, code
    try:
        asyncio.run(steady.connect(1.0))
    except CannotConnect as error:
        assert peer.closed == (not code)
        return error.code
    return ""


@pytest.mark.parametrize(
    ("process", "found"),
    [(HERE, "qemu-alive"), (None, "death-unproved"), (DEAD, "nobody-listens")],
)
def test_where_nobody_listens_qemu_may_live(process, found):
    """Only a process that is not there any more is gone; then its images may be repaired."""
    assert connect_again(process, code="nobody-listens") == found
    assert connect_again(process, code="no-greeting") == "no-greeting"


def test_a_qemu_that_was_started_again_is_another():
    """At the same socket: what the run has to undo is not on it."""
    assert connect_again(DEAD) == "nobody-listens"
    own, parent = os.getpid(), os.getppid()
    assert connect_again(HERE, before=own, after=parent) == "qemu-alive"
    assert not connect_again(HERE, before=own, after=own)
    assert not connect_again(HERE, before=parent, after=os.getpgid(0))  # a relay
    assert not connect_again(None, before=own, after=parent)
