"""What a QEMU is for as long as it runs is asked once; whatever can change is asked each time."""

import asyncio

import pytest

from planner.program.schema import KeptSchema, kept_schema
from planner.run.ports import CommandRefused
from planner.run.remembering import RememberingBackend

LASTING = [
    ("query-version", {}),
    ("query-uuid", {}),
    ("qom-get", {"path": "/machine", "property": "type"}),
    ("qom-get", {"path": "/machine/unattached/device[0]", "property": "feature-words"}),
]
CHANGING = [
    ("query-status", {}),
    ("query-block", {}),
    ("query-cpus-fast", {}),
    ("qom-list", {"path": "/machine/peripheral"}),
    ("qom-get", {"path": "/machine/peripheral/net0", "property": "type"}),
    ("query-name", {"surprising": 1}),
]


class Peer:
    """Answers each question with its number, or refuses."""

    def __init__(self):
        self.asked, self.refuses = [], False

    async def connect(self, timeout_s):
        del timeout_s

    async def execute(self, command, arguments, timeout_s):
        del timeout_s
        self.asked.append((command, arguments))
        if self.refuses:
            raise CommandRefused("GenericError", "no")
        return len(self.asked)


async def twice(backend, command, arguments):
    return [await backend.execute(command, arguments, 1.0) for _ in range(2)]


@pytest.mark.parametrize(("command", "arguments"), LASTING)
def test_what_lasts_is_asked_once(command, arguments):
    peer = Peer()
    assert asyncio.run(twice(RememberingBackend(peer), command, arguments)) == [1, 1]


@pytest.mark.parametrize(("command", "arguments"), CHANGING)
def test_what_can_change_is_asked_each_time(command, arguments):
    peer = Peer()
    assert asyncio.run(twice(RememberingBackend(peer), command, arguments)) == [1, 2]


def test_a_new_connection_begins_with_nothing():
    """It may be to another QEMU."""

    async def work():
        backend = RememberingBackend(Peer())
        first = await backend.execute("query-version", {}, 1.0)
        await backend.connect(1.0)
        return first, await backend.execute("query-version", {}, 1.0)

    assert asyncio.run(work()) == (1, 2)


def test_a_refusal_is_not_remembered():
    async def work():
        peer = Peer()
        backend = RememberingBackend(peer)
        peer.refuses = True
        with pytest.raises(CommandRefused):
            await backend.execute("query-uuid", {}, 1.0)
        peer.refuses = False
        return await backend.execute("query-uuid", {}, 1.0)

    assert asyncio.run(work()) == 2


@pytest.mark.parametrize("reply", [None, 7, [7], {"a": 1}])
def test_a_reply_that_is_no_schema_is_not_taken_for_one(reply):
    """The survey says what is wrong with it; the connection passes it on as it is."""

    class Odd(Peer):
        async def execute(self, command, arguments, timeout_s):
            await super().execute(command, arguments, timeout_s)
            return reply

    found = asyncio.run(twice(RememberingBackend(Odd()), "query-qmp-schema", {}))
    assert found == [reply, reply]
    assert not any(isinstance(each, KeptSchema) for each in found)


def test_what_is_kept_of_a_schema_is_kept_once():
    entries = [{"name": "stop", "meta-type": "command", "arg-type": "0", "ret-type": "0"}]
    kept = kept_schema(entries)
    assert kept_schema(kept) is kept
    with pytest.raises(ValueError, match="no list"):
        kept_schema("stop")
