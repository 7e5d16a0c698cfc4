"""Journals of before are gone on with: each replays to the same actions, cut off after any record.

`tests/data/journals` was written on 2026-11-27 by the code before begin, settle and recover became one
for all kinds of run (commit 9569d8b): by runs on the semantics that were killed, or came to their end.
"""

from pathlib import Path

import pytest

from planner.delete.delete_run import DeleteRun
from planner.load.load_run import LoadRun
from planner.recover.replay import replay
from planner.run.journal import read_journal
from planner.run.outcome import Outcome
from planner.save.save_run import SaveRun

FILES = sorted((Path(__file__).parents[1] / "data/journals").glob("*.journal"))
KINDS = {"save": SaveRun, "load": LoadRun, "delete": DeleteRun}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_journal_of_before_replays_whole_and_cut_off(file):
    """What is asked for after each record is what the journal has next."""
    lines = file.read_bytes().splitlines(keepends=True)
    kind = KINDS[file.stem.partition("-")[0]]
    for length in range(1, len(lines) + 1):
        stood = replay(read_journal(b"".join(lines[:length])))
        assert isinstance(stood.run, kind)
        assert not (isinstance(stood.action, Outcome) and length < len(lines))


def test_there_is_one_of_each_kind():
    """A kind of run that has no journal of before is tested by nothing here."""
    assert {file.stem.partition("-")[0] for file in FILES} == set(KINDS)
