"""Peers that are no QEMU, or no longer one: what they say is an error of the connection, and bounded."""

import asyncio
import contextlib
import json
import socket
import tracemalloc

import pytest

from backends import qemu
from backends.guest_agent import GuestAgent
from backends.messages import LINE_LIMIT_BYTES
from planner.errors import CannotConnect
from planner.run.ports import CommandRefused, ConnectionLost, NoReply

GREETING = b'{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, '
GREETING += b'"capabilities": []}}\n'
DEEP = 50_000
LONG_S = 20.0
SHORT_S = 0.5
ODD = {
    "deep": b'{"id": ID, "return": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep-and-open": b'{"id": ID, "return": ' + b"[" * DEEP,
    "not-utf-8": b'{"id": ID, "return": "\xe9\x80"}',
    "surrogate-bytes": b'{"id": ID, "return": "\xed\xa0\x80"}',
    "half-a-pair": b'{"id": ID, "return": "\\ud800"}',
    "large-number": b'{"id": ID, "return": ' + b"9" * 5000 + b"}",
    "not-a-number": b'{"id": ID, "return": NaN}',
    "id-is-a-list": b'{"id": [ID], "return": {}}',
    "id-is-an-object": b'{"id": {"a": 1}, "return": {}}',
    "event-is-a-list": b'{"event": [], "data": {}}',
    "error-is-a-number": b'{"id": ID, "error": 5}',
    "error-without-words": b'{"id": ID, "error": {"class": [], "desc": {}}}',
    "neither": b'{"id": ID}',
    "a-list": b"[]",
    "no-json": b"{]",
    "nothing": b"",
}
UNHEARD = ("event-is-a-list",)


def served(path, talk, use):
    """Use a peer at a path that talks so."""

    async def serve(reader, writer):
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def work():
        server = await asyncio.start_unix_server(serve, path, limit=2**20)
        async with server:
            return await use()

    return asyncio.run(work())


def qmp(answer):
    """A QMP peer that greets as QEMU does, and then says what it likes."""

    async def talk(reader, writer):
        writer.write(GREETING)
        await _command(reader)
        writer.write(b'{"return": {}, "id": "__qmp#00000"}\n')
        number = json.dumps((await _command(reader))["id"]).encode()
        writer.write(answer.replace(b"ID", number) + b"\n")
        await writer.drain()
        await reader.read()

    return talk


async def _command(reader):
    """The next command; there is no line break behind it."""
    said = b""
    while True:
        said += await reader.readuntil(b"}")
        with contextlib.suppress(ValueError):
            return json.loads(said)


async def asked(path):
    backend = await qemu.connect(str(path))
    try:
        return await backend.execute("query-status", {}, LONG_S)
    finally:
        await backend.close()


@pytest.mark.parametrize("name", ODD)
def test_an_odd_reply_is_a_connection_that_ended(tmp_path, name, capfd):
    """Never a traceback, nor a word of the peer's on the terminal."""
    with pytest.raises(ConnectionLost):
        served(tmp_path / "qmp", qmp(ODD[name]), lambda: asked(tmp_path / "qmp"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ODD)
def test_an_odd_greeting_is_no_qmp(tmp_path, name):
    """It is told as what it is."""

    async def talk(reader, writer):
        writer.write(ODD[name] + b"\n")
        await reader.read()

    with pytest.raises(CannotConnect) as caught:
        served(tmp_path / "qmp", talk, lambda: qemu.connect(str(tmp_path / "qmp")))
    assert caught.value.code == "not-qmp"


def test_the_monitor_for_people_is_told_by_its_name(tmp_path):
    """`-monitor` in place of `-qmp` is the likeliest mistake: the remedy is a QMP socket."""

    async def talk(reader, writer):
        writer.write(b"QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) ")
        await reader.read()

    with pytest.raises(CannotConnect) as caught:
        served(tmp_path / "qmp", talk, lambda: qemu.connect(str(tmp_path / "qmp")))
    (problem,) = caught.value.problems
    assert problem.code == "not-qmp"
    assert "monitor for people" in problem.message
    assert "-qmp unix:" in problem.remedy


def test_where_nobody_listens_the_way_to_the_sockets_is_told(tmp_path):
    """No such file, or a socket whose QEMU has ended; whoever catches nothing reads it all the same."""
    stale = tmp_path / "stale"
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as left:
        left.bind(str(stale))
    for path in (tmp_path / "none", stale):
        with pytest.raises(CannotConnect) as caught:
            asyncio.run(qemu.connect(str(path)))
        assert caught.value.code == "nobody-listens"
        assert "snapplan doctor" in str(caught.value)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_guest_agent_is_a_channel_that_ended(tmp_path, name):
    """A guest may say what it likes: the call ends, and the undo goes on."""

    async def talk(reader, writer):
        sync = json.loads((await reader.readuntil(b"\n")).lstrip(b"\xff"))
        writer.write(b'\xff{"return": %d}\n' % sync["arguments"]["id"])
        number = json.dumps(json.loads(await reader.readuntil(b"\n"))["id"]).encode()
        writer.write(ODD[name].replace(b"ID", number) + b"\n")
        await reader.read()

    async def use():
        agent = GuestAgent(str(tmp_path / "ga"))
        try:
            await agent.thaw(SHORT_S if name in UNHEARD else LONG_S)
        finally:
            await agent.close()

    with pytest.raises((ConnectionLost, NoReply, CommandRefused)):
        served(tmp_path / "ga", talk, use)


def test_a_reply_that_never_ends_is_bounded(tmp_path):
    """Twice the limit is the most that is ever held."""

    async def talk(reader, writer):
        await _greet(reader, writer)
        block = b"x" * 2**20
        while True:
            writer.write(block)
            await writer.drain()

    tracemalloc.start()
    with pytest.raises(ConnectionLost, match="too long"):
        served(tmp_path / "qmp", talk, lambda: asked(tmp_path / "qmp"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * LINE_LIMIT_BYTES


@pytest.mark.parametrize(
    ("event", "lost"), [("STOP", "events without end"), ("VSERPORT_CHANGE", "")]
)
def test_a_flood_of_events_is_bounded(tmp_path, event, lost):
    """Of a kind that is heard it ends the connection; of another kind it is not kept."""
    said = json.dumps({"event": event, "data": {"a": "x" * 60_000}}).encode() + b"\n"

    async def talk(reader, writer):
        number = json.dumps(await _greet(reader, writer)).encode()
        for _ in range(400):
            writer.write(said)
            await writer.drain()
        writer.write(b'{"return": 1, "id": %b}\n' % number)
        await reader.read()

    if lost:
        with pytest.raises(ConnectionLost, match=lost):
            served(tmp_path / "qmp", talk, lambda: asked(tmp_path / "qmp"))
    else:
        assert served(tmp_path / "qmp", talk, lambda: asked(tmp_path / "qmp")) == 1


async def _greet(reader, writer):
    writer.write(GREETING)
    await _command(reader)
    writer.write(b'{"return": {}, "id": "__qmp#00000"}\n')
    return (await _command(reader))["id"]
