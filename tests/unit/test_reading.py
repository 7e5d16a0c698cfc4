"""Reading a snapshot's files: told of, and stopped where nobody waits any more."""

import asyncio
import itertools
import threading

import pytest

from planner.host import reading
from planner.library.progress import ProgressReporter
from planner.verbs.reading import on_read

MIB = 2**20


def test_what_is_read_is_told_in_the_thread_that_waits(monkeypatch):
    """Bytes so far, and of how many; a tool's callback runs where its own code does."""

    def look(manifest, *, deep, tell, template):
        tell(MIB, 3 * MIB)
        return {"of": manifest, "deep": deep, "template": template}

    monkeypatch.setattr(reading, "look_at_files", look)
    told = []
    reporter = ProgressReporter(lambda progress: told.append((threading.get_ident(), progress)))
    found = asyncio.run(reading.read_files("manifest", on_read(reporter), deep=True))
    assert found == {"of": "manifest", "deep": True, "template": False}
    [(thread, progress)] = told
    assert thread == threading.get_ident()
    assert (progress.bytes_done, progress.bytes_total) == (MIB, 3 * MIB)


def test_a_reader_that_nobody_waits_for_ends(monkeypatch):
    """It would read for ever otherwise, and the command would wait for it."""
    began, ended = threading.Event(), threading.Event()

    def look(_manifest, *, tell, **_how):
        try:
            for done in itertools.count():
                tell(done, done)
                began.set()
        finally:
            ended.set()

    async def stopped():
        waiting = asyncio.create_task(reading.read_files("manifest", on_read(None)))
        await asyncio.to_thread(began.wait)
        waiting.cancel()
        await waiting

    monkeypatch.setattr(reading, "look_at_files", look)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(stopped())
    assert ended.is_set()
