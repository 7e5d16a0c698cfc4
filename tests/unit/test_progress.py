"""Progress as values: what is told, and that telling changes nothing of a run."""

import asyncio
import hashlib
import itertools
import json
import os

import pytest

from planner.host.evidence import digest_of
from planner.host.process_io import FileMeter, ProcessMeter, meter_of
from planner.host.processes import process_of
from planner.library.progress import ProgressReporter
from planner.model.replies import migration_of
from planner.present.progress_view import progress_to_plain
from planner.run import watching
from planner.run.actions import ErrorReply, NoAnswer, Returned, Send
from planner.run.progress import Amount, Course, ProgressKind
from planner.run.pump import Pump
from planner.run.reporting import Teller
from planner.run.watching import Watch
from planner.save.save_machine import SaveMachine
from tests.support.contract import conforms
from tests.unit.build import plan, two_disks
from tests.unit.fake_vm import FakeVm


class Told:
    def __init__(self, fails_at=""):
        self.amounts, self.words, self.fails_at = [], [], fails_at

    def step(self, number, count, what):
        self.words.append((number, count, what))
        self.fail("step")

    def note(self, text):
        self.words.append(text)
        self.fail("note")

    def amount(self, amount):
        self.amounts.append(amount)
        self.fail("amount")

    def fail(self, where):
        if self.fails_at == where:
            raise RuntimeError("a reporter with a bug")


class Counting:
    """A meter whose every look finds ten bytes more."""

    total_bytes = 25

    def __init__(self, until=1000):
        self.began, self.count, self.until = [], 0, until
        self.reached = asyncio.Event()

    def begin(self, *, reads):
        self.began.append(reads)

    def done_bytes(self):
        self.count += 10
        if self.count == self.until:
            self.reached.set()
        return self.count


def heard(*exchanges):
    """What a watch tells of commands and their answers, one phase for all."""
    told = Told()

    async def all_of_them():
        watch = Watch(Teller(told))
        for command, response in exchanges:

            async def answer(response=response):
                return response

            assert await watch.during(Send(command), "stepping", answer()) is response

    asyncio.run(all_of_them())
    return [(each.done_bytes, each.total_bytes) for each in told.amounts[1:]]


def migrating(status, done, rest):
    ram = {"transferred": done, "remaining": rest, "total": 999}
    return Returned({"status": status, "ram": ram})


def test_a_streams_bytes_are_those_that_qemu_tells():
    """What was written, and with what remains the whole; the last word is never left out."""
    words = [migrating("active", 10, 90), migrating("completed", 80, 0)]
    assert heard(*(("query-migrate", word) for word in words)) == [(10, 100), (80, 80)]
    assert migration_of(words[0].value).transferred_bytes == 10


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_what_became_of_an_earlier_migration_is_no_progress(status):
    """QEMU keeps its numbers; a load looks at them (fact 65) before it begins."""
    assert heard(("query-migrate", migrating(status, 10, 90))) == []
    begun = (("migrate", Returned({})), ("query-migrate", migrating(status, 10, 90)))
    assert heard(*begun) == [(10, 100)]


def test_words_that_come_too_fast_are_left_out():
    """A capture that is asked for every millisecond is not told every millisecond."""
    assert len(heard(*[("query-migrate", migrating("active", 10, 90))] * 50)) == 1


def test_merges_are_told_together_and_snapshot_jobs_are_not():
    """QEMU counts the bytes of block jobs; a snapshot job's numbers are no bytes."""
    jobs = [
        {"type": "commit", "current-progress": 5, "total-progress": 10},
        {"type": "commit", "current-progress": 1, "total-progress": 20},
        {"type": "snapshot-save", "current-progress": 1, "total-progress": 1},
    ]
    assert heard(("query-jobs", Returned(jobs))) == [(6, 30)]
    assert heard(("query-jobs", Returned(jobs[2:]))) == []


@pytest.mark.parametrize(
    "response",
    [
        *(Returned(value) for value in (None, [], 7, {"ram": 7}, {"status": "active", "ram": {}})),
        migrating("active", -5, 3),
        migrating("active", 2**64, 3),
        Returned([{"type": "commit", "current-progress": "x", "total-progress": None}]),
        Returned([{"type": "commit", "current-progress": 2**60, "total-progress": 2**61}]),
        ErrorReply("GenericError", "no"),
        NoAnswer("late", lost=False),
    ],
)
@pytest.mark.parametrize("command", ["query-migrate", "query-jobs"])
def test_nonsense_tells_nothing_and_stops_nothing(command, response):
    """What comes back is what QEMU said, whatever it is."""
    assert heard((command, response)) == []


@pytest.mark.parametrize(("command", "reads"), [("snapshot-save", False), ("snapshot-load", True)])
def test_a_snapshot_jobs_bytes_are_its_processs(monkeypatch, command, reads):
    """QEMU is silent meanwhile; the meter is read until the job ends; the whole is at least that."""
    monkeypatch.setattr(watching, "_EVERY_S", 0.001)
    told, meter = Told(), Counting(until=40)

    async def working():
        await meter.reached.wait()
        return Returned()

    async def nothing():
        await asyncio.sleep(0.02)
        return Returned()

    async def work():
        watch = Watch(Teller(told), meter)
        await watch.during(Send(command), "stepping", working())
        await watch.during(Send("query-jobs"), "stepping", nothing())

    asyncio.run(work())
    assert meter.began == [reads]
    amounts = [(each.done_bytes, each.total_bytes) for each in told.amounts[1:]]
    assert amounts == [(10, 25), (20, 25), (30, 30), (40, 40)]


class Peer:
    """A backend of the VM in a page."""

    peer_pid = images = host = None

    def __init__(self, facts):
        self.vm, self.commands, self.times = FakeVm.of(facts), [], []

    async def execute(self, command, arguments, timeout_s):
        self.commands.append(command)
        self.times.append(timeout_s)
        return self.vm.answer(Send(command, arguments)).value

    async def wait_for_event(self, timeout_s):
        assert self.vm.events
        self.times.append(timeout_s)

    def pending_events(self):
        return tuple(self.vm.take_events())


def saved(reporter, meter=None, design="transactional"):
    facts = two_disks()
    peer = Peer(facts)
    machine = SaveMachine.on(plan(design).program, facts)
    outcome = asyncio.run(Pump(machine, peer, reporter=reporter, meter=meter).run())
    assert outcome.failure is None
    return peer.commands


@pytest.mark.parametrize("design", ["monolithic", "transactional"])
def test_nothing_more_is_asked_for_whoever_listens(design):
    """The guest stands still for no progress: with and without a listener the same commands are sent."""
    unheard = saved(None, design=design)
    assert saved(Told(), Counting(), design) == unheard
    assert "query-jobs" in unheard


@pytest.mark.parametrize(("where", "amounts"), [("step", 1), ("amount", 1), ("nowhere", 3)])
def test_a_listener_that_raises_stops_no_run(where, amounts):
    """It is not told anything more, and the snapshot is made."""
    told = Told(where)
    saved(told, Counting())
    assert len(told.amounts) == amounts


def test_a_callback_is_given_every_kind_of_word():
    """Phases, steps and bytes come as values, in order, with the step that they are about."""
    heard = []
    reporter = ProgressReporter(heard.append)
    reporter.amount(Amount("stepping"))
    reporter.step(1, 2, "snapshot-save")
    reporter.amount(Amount("stepping", 2**20, 2**21))
    reporter.note("a note")
    reporter.amount(Amount("confirming"))
    assert [each.kind for each in heard] == ["phase", "step", "bytes", "note", "phase"]
    assert [each.phase for each in heard] == ["stepping"] * 4 + ["confirming"]
    assert [(each.step, each.steps) for each in heard] == [(0, 0), (1, 2), (1, 2), (0, 0), (0, 0)]
    assert (heard[2].bytes_done, heard[2].bytes_total) == (2**20, 2**21)
    assert str(heard[2]) == "step 1 of 2: snapshot-save, 1 of 2 MiB"
    assert str(heard[3]) == "a note"
    assert all(one.seconds <= two.seconds for one, two in itertools.pairwise(heard))
    for each in heard:
        line = json.loads(json.dumps(progress_to_plain(each)))
        conforms("progress", line)
        assert line["progress"]["bytes-done"] == each.bytes_done


def test_a_step_that_no_phase_was_told_of_is_of_the_first():
    """A restore has no machine."""
    assert Course().step(1, 1, "copy disk0").phase == "stepping"


def test_bytes_without_a_step_are_told_with_their_phase():
    """`verify` has no steps."""
    progress = Course().amount(Amount("verifying", 5 * 2**20))
    assert (progress.kind, progress.phase, progress.step) == (ProgressKind.BYTES, "verifying", 0)
    assert str(progress) == "verifying, 5 MiB"
    conforms("progress", progress_to_plain(progress))


def test_a_process_is_metered_by_what_it_writes_and_reads(tmp_path):
    """This one; what it did before does not count, and nothing is said of one that is not there."""
    meter = meter_of(process_of(os.getpid()), 0)
    assert meter.total_bytes is None
    file = tmp_path / "file"
    for reads in (False, True):
        meter.begin(reads=reads)
        before = meter.done_bytes()
        assert file.write_bytes(b"x" * 5_000_000) if not reads else file.read_bytes()
        assert before < 4_000_000
        assert meter.done_bytes() >= 5_000_000
    gone = ProcessMeter(2**22 + 1)
    gone.begin(reads=True)
    assert gone.done_bytes() is None
    assert meter_of(None, 5) is None


def test_a_new_file_is_metered_under_either_of_its_names(tmp_path):
    """Before it is there nothing is, and then what it holds."""
    meter = FileMeter((str(tmp_path / ".a"), str(tmp_path / "a")), 7)
    assert meter.done_bytes() == 0
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    assert meter.done_bytes() >= 100_000


def test_reading_for_a_digest_is_told_now_and_then(tmp_path):
    """Every 16 MiB, so that a wish to stop is heard; the digest is the same."""
    file = tmp_path / "file"
    with file.open("wb") as made:
        made.truncate(34 * 2**20)
    told = []
    with file.open("rb") as opened:
        assert digest_of(opened.fileno(), told.append) == digest_of(opened.fileno())
        assert hashlib.file_digest(opened, "sha256").hexdigest() == digest_of(opened.fileno())
    assert told == [16 * 2**20, 32 * 2**20]
