"""The loop of the blocking library: whatever interrupts the waiting, the work is undone first."""

import asyncio
import itertools
import os
import signal

import pytest

from planner.library.loop import Loop


@pytest.fixture
def loop(monkeypatch):
    """A loop of its own; SIGINT is Ctrl-C, also where whoever runs the tests ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    made = Loop()
    yield made
    monkeypatch.undo()
    made.end()
    signal.signal(signal.SIGINT, before)


def work_of(undone):
    async def work():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            undone.append("all")

    return work()


@pytest.mark.parametrize("again", [None, 0, 1, 2], ids=["once", "begin", "cancel", "twice-cancel"])
def test_interrupted_wherever_it_is_waits_for_the_undo(loop, monkeypatch, again):
    """Ctrl-C once, and once more while the work is begun or its end is asked for."""
    really, calls, undone = loop._loop.call_soon_threadsafe, itertools.count(), []

    def interrupted(*call):
        if next(calls) == again:
            raise KeyboardInterrupt
        return really(*call)

    monkeypatch.setattr(loop._loop, "call_soon_threadsafe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.do(work_of(undone))
    assert undone == ["all"] or again == 0  # interrupted before it began, it may never have begun
    assert not asyncio.all_tasks(loop._loop)


def test_what_comes_of_the_work_comes_back(loop):
    """Its value, or its error."""

    async def value():
        return 7

    async def error():
        raise ValueError("no")

    assert loop.do(value()) == 7
    with pytest.raises(ValueError, match="no"):
        loop.do(error())
