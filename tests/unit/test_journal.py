"""A journal gives back the run that it was written by, as far as it is whole."""

import itertools
import json

import pytest

from planner.errors import BadInput
from planner.model.facts import SnapshotInfo
from planner.recover.replay import replay
from planner.run.actions import AwaitEvent, ErrorReply, NoAnswer, NotSent, Returned, Send
from planner.run.journal import (
    Result,
    changes_something,
    checksum,
    journal_line,
    read_journal,
)
from planner.run.outcome import Outcome
from planner.run.ports import Event, JournalFailed
from planner.run.recorder import Recorder
from planner.store.journal_file import JournalFile
from tests.unit.fake_vm import REFUSED, Strike
from tests.unit.journals import Memory, recorded

DESIGNS = ("monolithic", "transactional")


def dies(vm):
    vm.alive = False


RUNS = [
    (design, strikes)
    for design in DESIGNS
    for strikes in (
        (), (Strike("snapshot-save", after=dies),), (Strike("query-jobs", nth=2, after=dies),),
    )
]  # fmt: skip


@pytest.mark.parametrize(("design", "strikes"), RUNS)
def test_every_prefix_replays_to_where_the_run_stood(design, strikes):
    """The machine asks for what it asked then; after the last record it has ended in the same way."""
    lines, machine, outcome = recorded(design, *strikes)
    for length in range(1, len(lines)):
        stood = replay(read_journal("".join(lines[:length]).encode()))
        expected = json.loads(lines[length])
        if expected["record"] == "intent":
            assert not stood.unknown
        assert not isinstance(stood.action, Outcome)
    whole = replay(read_journal("".join(lines).encode()))
    assert whole.action == outcome
    assert whole.machine.context == machine.context


def test_what_may_change_something_has_an_intent():
    """Questions have none, all other commands do, each before its result."""
    lines, _, _ = recorded("transactional")
    records = [json.loads(line) for line in lines[1:]]
    for before, record in itertools.pairwise(records):
        if record["record"] == "result" and record["changed"]:
            assert before["record"] == "intent"
            assert before["action"] == record["action"]
    intents = [r["action"]["$send"]["command"] for r in records if r["record"] == "intent"]
    assert intents == ["stop", "snapshot-save", "job-dismiss", "transaction", "cont"]
    assert not changes_something(AwaitEvent())
    assert changes_something(Send("device_del"))


@pytest.mark.parametrize(
    "response",
    [
        Returned(),
        Returned([{"a": 1, "$b": (1, "x")}]),
        Returned((SnapshotInfo("1", "t", 2, 3, 4),)),
        Returned(
            {}, (Returned({"a": 1}), NoAnswer("gone", lost=True), ErrorReply("GenericError", "no"))
        ),
        ErrorReply("GenericError", "no"),
        NotSent("journal-unwritable", "full"),
        NoAnswer("gone", lost=True, dead=True),
    ],
)
def test_each_response_comes_back_as_it_was(response):
    """Kinds are kept apart, tuples stay tuples, QMP's own values stay what they are."""
    header = recorded("monolithic")[0][0]
    record = Result({}, response, (Event("STOP", {"x": [1]}, 5),), interrupted=True)
    journal = read_journal((header + journal_line(1, record)).encode())
    assert journal.records == (record,)
    assert type(journal.records[0].response) is type(response)


def test_a_torn_tail_is_no_record():
    """At every byte: what is whole is read, the rest is left, and its length is known."""
    lines, _, _ = recorded("monolithic")
    raw = "".join(lines[:4]).encode()
    last = len(lines[3].encode())
    for cut in range(1, last + 1):
        journal = read_journal(raw[:-cut])
        assert len(journal.records) == 2
        assert journal.torn is (cut < last)
        assert journal.size_bytes == len(raw) - last


def test_damage_before_a_result_that_lasted_is_no_torn_tail():
    """What was on the disk before a change was made cannot be missing: nothing is done by it."""
    lines, _, _ = recorded("transactional")
    lines[1] = lines[1].replace('"number":1', '"number":7')
    with pytest.raises(BadInput) as caught:
        read_journal("".join(lines).encode())
    assert caught.value.code == "journal-damaged"


def forged(line, **changes):
    content = json.loads(line) | changes
    del content["checksum"]
    return json.dumps({"checksum": checksum(content), **content}) + "\n"


def test_another_version_s_journal_is_not_gone_on_with():
    """A record that this machine would not have asked for stops the replay."""
    lines, _, _ = recorded("monolithic")
    lines[1] = forged(lines[1], action={"$tell": {"text": "something else", "step": 1, "count": 1}})
    with pytest.raises(BadInput) as caught:
        replay(read_journal("".join(lines).encode()))
    assert caught.value.code == "journal-differs"
    with pytest.raises(BadInput):
        read_journal(forged(lines[0], **{"format-version": 2}).encode())


class Full(Memory):
    def append(self, line, *, lasting):
        del line, lasting
        raise JournalFailed("no space")


def test_what_cannot_be_recorded_is_withheld_while_the_run_goes_forward():
    """Nothing is changed unrecorded but by undo; questions are asked all the same."""
    recorder = Recorder(Full())
    assert recorder.before(Send("query-status"), forward=True) is None
    assert recorder.before(Send("stop"), forward=True).error_class == "journal-unwritable"
    assert recorder.before(Send("cont"), forward=False) is None
    assert recorder.number == 1


def test_a_line_that_does_not_fit_is_taken_back(tmp_path, monkeypatch):
    """A write that fails leaves what was whole; the file goes on after it, and is private."""
    lines, _, _ = recorded("monolithic")
    file = JournalFile.create(tmp_path / "j" / "r.journal", lines[0])
    file.append(lines[1], lasting=True)

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("planner.store.journal_file.os.fsync", full)
        with pytest.raises(JournalFailed, match="No space"):
            file.append(lines[2], lasting=True)
    assert file.path.read_text() == "".join(lines[:2])
    file.append(lines[2], lasting=False)
    file.close()
    assert file.path.stat().st_mode & 0o777 == 0o600
    file.path.write_bytes(file.path.read_bytes() + b"torn")
    journal = read_journal(file.path.read_bytes())
    again = JournalFile.reopen(file.path, journal.size_bytes)
    again.append(lines[3], lasting=True)
    assert file.path.read_text() == "".join(lines[:4])
    again.remove()
    assert list(file.path.parent.iterdir()) == []


def test_an_end_that_left_something_is_undone_again():
    """A second undo begins with a look, and knows all that the first one knew."""
    delete = "blockdev-snapshot-delete-internal-sync"
    refused = [
        Strike(delete, ErrorReply("GenericError", "no"), nth=nth, done=False) for nth in range(1, 4)
    ]
    lines, _, outcome = recorded("transactional", Strike("cont", REFUSED, done=False), *refused)
    assert outcome.left
    stood = replay(read_journal("".join(lines).encode()))
    assert stood.action == outcome
    assert type(stood.machine.again()).__name__ == "Tell"
