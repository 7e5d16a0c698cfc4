"""The members of a restored group meet: no guest goes on before all have read their state."""

import asyncio
import itertools

import attrs
import pytest

from planner.errors import RunFailed
from planner.model.request import RunStateAfter
from planner.verbs import group_restoring
from planner.verbs.group_restoring import Member, run_members
from planner.verbs.restore_decision import RestoreWish

NAMES = ("db", "queue", "web")


class Doing:
    """What is done with the members, in order; one of them may fail at something."""

    def __init__(self, fails=()):
        self.fails, self.log = fails, []

    async def does(self, what, name):
        for _ in NAMES.index(name) * [None]:  # each at a time of its own
            await asyncio.sleep(0)
        if (what, name) == self.fails:
            raise RunFailed("it failed")
        self.log.append((what, name))

    def member(self, name, reverts=False):
        doing = self

        class Manifest:
            tag = name

        class Plan:
            manifest = Manifest
            disks = ()

        Plan.reverts = reverts

        @attrs.frozen
        class Decided:
            plan = Plan
            words = ()
            socket = name

        class Disks:
            plan, taken_back = Plan, None

            async def make(self):
                await doing.does("make", name)

            async def revert(self):
                await doing.does("revert", name)

        class Record:
            def made(self, *, ready):
                assert not ready

            def starting(self, socket):
                doing.log.append(("starting", socket))

            def started(self, pid):
                pass

        class Offline:
            reporter = None

            @staticmethod
            async def launch(*_):
                raise AssertionError

        return Member(name, Decided(), Disks(), Record(), Offline(), RestoreWish())


class Started:
    """A QEMU of a member."""

    pid = 1

    def __init__(self, name, doing):
        self.name, self.doing = name, doing

    def end(self):
        self.doing.log.append(("end", self.name))

    def leave(self):
        self.doing.log.append(("leave", self.name))


def done(doing, monkeypatch, reverts=()):
    """Run the members on fakes of what each is done with alone."""

    async def start_and_use(*what):
        _, _, socket, use, *_ = what
        started = Started(socket, doing)
        try:
            return started, await use(socket)
        except BaseException:
            started.end()
            raise

    class Facts:
        run_state = "prelaunch"

    async def check_started(_plan, backend):
        await doing.does("check", backend)
        return Facts

    async def run_restored(_plan, backend, after, *_):
        assert after is RunStateAfter.PAUSED
        await doing.does("read", backend)
        return "paused"

    async def let_run(_tag, backend):
        await doing.does("run", backend)
        return "running"

    async def nothing(*_):
        return ()

    for each in (start_and_use, check_started, run_restored, let_run):
        monkeypatch.setattr(group_restoring, each.__name__, each)
    monkeypatch.setattr(group_restoring, "await_links", nothing)
    monkeypatch.setattr(group_restoring, "write_down", nothing)
    members = [doing.member(name, name in reverts) for name in NAMES]
    return asyncio.run(run_members(members))


def places(log, what):
    return [place for place, (each, _) in enumerate(log) if each == what]


def test_no_guest_goes_on_before_all_have_read(monkeypatch):
    """Nor does any read before all are checked, nor is any left before all run."""
    doing = Doing()
    restored = done(doing, monkeypatch)
    assert {name: each.run_state for name, each in restored.items()} == dict.fromkeys(
        NAMES, "running"
    )
    order = ["make", "starting", "check", "read", "run", "leave"]
    for before, after in itertools.pairwise(order):
        assert len(places(doing.log, before)) == len(NAMES)
        assert max(places(doing.log, before)) < min(places(doing.log, after)), (before, after)
    assert not places(doing.log, "revert")


def test_images_are_reverted_when_every_qemu_was_up_once(monkeypatch):
    """One image that is to be reverted is enough: all are tried, ended, and started anew."""
    doing = Doing()
    done(doing, monkeypatch, reverts=("queue",))
    assert len(places(doing.log, "check")) == 2 * len(NAMES)
    assert max(places(doing.log, "check")[:3]) < min(places(doing.log, "end"))
    assert max(places(doing.log, "end")) < min(places(doing.log, "revert"))
    assert max(places(doing.log, "revert")) < places(doing.log, "check")[3]


@pytest.mark.parametrize("what", ["make", "check", "read"])
@pytest.mark.parametrize("name", NAMES)
def test_where_one_fails_no_guest_goes_on(monkeypatch, what, name):
    """Every QEMU that was started is ended, and the error names the member."""
    doing = Doing((what, name))
    with pytest.raises(RunFailed) as failed:
        done(doing, monkeypatch)
    assert failed.value.message == f"{name}: it failed"
    assert not places(doing.log, "run")
    assert not places(doing.log, "leave")
    ended = {each for doing_what, each in doing.log if doing_what == "end"}
    assert ended == (set() if what == "make" else set(NAMES))


def test_where_one_cannot_go_on_all_are_ended(monkeypatch):
    """Others may have gone on by then: they are ended like any."""
    doing = Doing(("run", "web"))
    with pytest.raises(RunFailed) as failed:
        done(doing, monkeypatch)
    assert failed.value.message == "web: it failed"
    assert {each for what, each in doing.log if what == "end"} == set(NAMES)
