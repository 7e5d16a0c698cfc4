"""Work that must not be cut short, and words that must not cut it short."""

import asyncio

import pytest

from planner.run.actions import Returned, Send
from planner.run.ports import JournalFailed
from planner.run.recorder import Recorder
from planner.run.reporting import Teller, telling
from planner.run.stopping import to_its_end


def test_work_ends_before_a_cancellation_comes_out():
    """However often it is cancelled; each time the work is asked to stop."""
    seen = []

    async def work():
        for number in range(5):
            await asyncio.sleep(0)
            seen.append(number)

    async def outer():
        await to_its_end(work(), lambda: seen.append("stop"))

    async def main():
        task = asyncio.create_task(outer())
        for _ in range(2):
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [each for each in seen if each != "stop"] == [0, 1, 2, 3, 4]
    assert seen.count("stop") == 2


def test_what_the_work_raises_comes_out():
    """Without a cancellation it is as if it were awaited; with one, that comes first."""

    async def fails():
        await asyncio.sleep(0)
        raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(to_its_end(fails()))

    async def main():
        task = asyncio.create_task(to_its_end(fails()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


class Raises:
    """A reporter with a bug."""

    told = 0

    def step(self, *_words):
        self.told += 1
        raise BrokenPipeError

    note = step


def test_a_reporter_that_fails_is_told_nothing_more():
    """And nobody hears of it."""
    reporter = Raises()
    teller = telling(reporter)
    teller.note("a")
    teller.step(1, 2, "b")
    assert reporter.told == 1
    assert telling(teller) is teller
    Teller().note("to nobody")


@pytest.mark.parametrize("error", [JournalFailed("full"), ValueError("no text"), OSError(5, "io")])
def test_a_journal_that_cannot_be_written_raises_nothing(error):
    """What goes forward is held back; what undoes is done all the same."""

    class Store:
        def append(self, _line, *, lasting):
            del lasting
            raise error

    recorder = Recorder(Store())
    assert recorder.before(Send("stop"), forward=False) is None
    assert recorder.before(Send("stop"), forward=True).error_class == "journal-unwritable"
    recorder.after(Send("stop"), Returned({}), (), interrupted=False)
