"""QEMUs that wait for each other: started again while a link leads nowhere; one that fails ends all."""

import asyncio

import pytest

from planner.errors import Problem, RunFailed
from planner.load import starting_together
from planner.load.starting_together import all_or_the_first_error, await_links, launching_again

NOBODY = "QEMU ended with 1: -chardev socket,…: Failed to connect to 'link.sock': No such file"


class Started:
    """A QEMU that does not listen, and why; without a reason it does."""

    def __init__(self, why):
        self.why, self.ended, self.pid = why, False, 1

    async def connect(self, socket, _timeout_s):
        if self.why:
            raise RunFailed(self.why, problems=(Problem("qemu-not-started", "--run", self.why),))
        return socket

    def end(self):
        self.ended = True


def connecting(whys, monkeypatch):
    """Start one again and again, each for the next reason; what it came to, and what was started."""
    monkeypatch.setattr(starting_together, "_EACH_S", 0)
    made = []

    async def launch(words, socket):
        assert (words, socket) == (["qemu"], "qmp.sock")
        made.append(Started(whys[len(made)] if len(made) < len(whys) else whys[-1]))
        return made[-1]

    async def connect():
        started = await launching_again(launch)(["qemu"], "qmp.sock")
        return await started.connect("qmp.sock", 1)

    try:
        return asyncio.run(connect()), made
    except RunFailed as error:
        return error, made


def test_a_link_that_leads_nowhere_yet_is_tried_again(monkeypatch):
    """Each that ended is put away before the next one is started."""
    came_to, made = connecting([NOBODY, NOBODY, ""], monkeypatch)
    assert came_to == "qmp.sock"
    assert [each.ended for each in made] == [True, True, False]


def test_what_else_ends_a_qemu_ends_it_at_once(monkeypatch):
    """A mistake in a line is told, and not tried again."""
    came_to, made = connecting(["QEMU ended with 1: 'nosuch' is not a valid device"], monkeypatch)
    assert isinstance(came_to, RunFailed)
    assert len(made) == 1


def test_a_link_that_never_leads_anywhere_is_told(monkeypatch):
    """After a while."""
    monkeypatch.setattr(starting_together, "_AGAIN_S", 0.05)
    came_to, made = connecting([NOBODY], monkeypatch)
    assert isinstance(came_to, RunFailed)
    assert "Failed to connect" in came_to.message
    assert len(made) > 1


def test_one_that_fails_ends_the_others():
    """They have ended when its error is raised, and it is raised as it is."""
    ended = []

    async def waits(name):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # to end takes a while
            ended.append(name)

    async def fails():
        await asyncio.sleep(0)
        raise RunFailed("web: it did not start")

    works = {"db": lambda: waits("db"), "queue": lambda: waits("queue"), "web": fails}
    with pytest.raises(RunFailed, match="web: it did not start"):
        asyncio.run(all_or_the_first_error(works))
    assert sorted(ended) == ["db", "queue"]


def test_all_that_succeed_are_told_by_name():
    """In the order that they were given in."""

    async def gives(what):
        return what

    found = asyncio.run(all_or_the_first_error({"web": lambda: gives(1), "db": lambda: gives(2)}))
    assert list(found.items()) == [("web", 1), ("db", 2)]


class Chardevs:
    """A QEMU that says these of its links, one answer after the other; the last for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def execute(self, command, _arguments, _timeout_s):
        assert command == "query-chardev"
        file = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [{"label": "link", "filename": file}, {"label": "con", "filename": "file"}]


UNIX, TCP = "disconnected:unix:/vm/link.sock,server=on", "disconnected:tcp:0.0.0.0:4444,server=on"


@pytest.mark.parametrize(
    ("answers", "others", "left"),
    [
        ([UNIX], ["socket,id=a,path=/vm/link.sock"], ("link",)),
        ([UNIX, UNIX, "unix:/vm/link.sock,server=on"], ["socket,id=a,path=/vm/link.sock"], ()),
        ([UNIX], ["unix:/vm/other.sock"], ()),  # a monitor's that nobody uses
        ([TCP], ["socket,id=a,host=db,port=4444"], ("link",)),
        ([TCP], ["tcp:db:4444,reconnect=1"], ("link",)),
        ([TCP], ["port=44440"], ()),
        ([None], ["None"], ()),
    ],
)
def test_links_between_members_are_waited_for(answers, others, left, monkeypatch):
    """One is a link where another member's line names its socket."""
    monkeypatch.setattr(starting_together, "_EACH_S", 0)
    assert asyncio.run(await_links(Chardevs(*answers), others, 0.02)) == left
