"""The simulator behind sockets: for clients that are ours and clients that are not."""

import asyncio
import json
import os
import stat
import sys

import pytest
from qemu.qmp import ExecuteError, QMPClient

from backends.simulator import Simulator, parse_faults, serve
from backends.simulator.json_stream import JsonProblem, JsonStream
from planner.errors import BadInput
from planner.semantics import vm_state

SAVE = {"job-id": "j", "tag": "t", "vmstate": "disk0", "devices": ["disk0", "disk1"]}


def state(version="7.2"):
    return vm_state(version, ["disk0", "disk1"])


class Raw:
    """A client that sends lines of JSON and nothing more clever."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.events = reader, writer, []

    @classmethod
    async def connect(cls, path, *, negotiate=True):
        client = cls(*await asyncio.open_unix_connection(str(path), limit=2**26))
        client.greeting = await client.read()
        if negotiate:
            assert await client.send('{"execute": "qmp_capabilities"}') == {"return": {}}
        return client

    async def read(self):
        line = await asyncio.wait_for(self.reader.readline(), 10)
        if not line:
            raise EOFError
        assert line.endswith(b"\r\n")
        return json.loads(line)

    def write(self, text):
        self.writer.write(text.encode() if isinstance(text, str) else text)

    async def send(self, text):
        self.write(text + "\n")
        return await self.reply()

    async def reply(self):
        while True:
            message = await self.read()
            if "event" not in message:
                return message
            self.events.append(message)

    async def read_to_the_end(self):
        while True:
            await self.read()

    async def execute(self, command, **arguments):
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        return await self.send(json.dumps({"execute": command, "arguments": named}))

    async def close(self):
        self.writer.close()
        await asyncio.wait([asyncio.ensure_future(self.writer.wait_closed())])


def run(scenario, tmp_path, *rules, version="7.2", **options):
    """Run a scenario with a simulator on a socket; nothing may be left over afterwards."""

    async def whole():
        faults = parse_faults(list(rules))
        async with Simulator(state(version), faults=faults, **options) as simulator:
            path = simulator.listen(tmp_path / "q")
            await asyncio.wait_for(scenario(simulator, path), 30)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not list(tmp_path.iterdir())

    asyncio.run(whole())


def test_the_socket_is_private_and_greets_as_qemu_does(tmp_path):
    async def scenario(_simulator, path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        client = await Raw.connect(path, negotiate=False)
        assert client.greeting["QMP"]["capabilities"] == ["oob"]
        assert client.greeting["QMP"]["version"]["qemu"] == {"major": 7, "minor": 2, "micro": 22}
        await client.close()

    run(scenario, tmp_path)


def test_nothing_works_before_the_negotiation_and_it_works_once(tmp_path):
    async def scenario(_simulator, path):
        client = await Raw.connect(path, negotiate=False)
        error = (await client.execute("query-status"))["error"]
        assert error == {
            "class": "CommandNotFound",
            "desc": "Expecting capabilities negotiation with 'qmp_capabilities'",
        }
        assert "error" in await client.execute("qmp_capabilities", x=1)
        assert await client.execute("qmp_capabilities", enable=["oob"]) == {"return": {}}
        error = (await client.execute("qmp_capabilities"))["error"]
        assert error["desc"].startswith("Capabilities negotiation is already complete")
        error = (await client.send('{"exec-oob": "query-status"}'))["error"]
        assert error["desc"] == "The command query-status does not support OOB"
        await client.close()

    run(scenario, tmp_path)


@pytest.mark.parametrize("command_id", [1, "x", None, [1, {"a": 2}], 1.5])
def test_ids_come_back_as_they_were(tmp_path, command_id):
    async def scenario(_simulator, path):
        client = await Raw.connect(path)
        text = json.dumps({"execute": "query-jobs", "id": command_id})
        assert await client.send(text) == {"return": [], "id": command_id}
        text = json.dumps({"execute": "nonsense", "id": command_id})
        assert (await client.send(text))["id"] == command_id
        await client.close()

    run(scenario, tmp_path)


# every one was sent to QEMU 7.2, and this is what it said
MALFORMED = [
    ("garbage", "JSON parse error, invalid keyword 'garbage'"),
    ("}", "JSON parse error, expecting value"),
    ('{"execute":\n}', "JSON parse error, expecting value"),
    ("[1]", "QMP input must be a JSON object"),
    ('"x"', "QMP input must be a JSON object"),
    ("{}", "QMP input lacks member 'execute'"),
    ('{"execute":1}', "QMP input member 'execute' must be a string"),
    ('{"execute":"query-status","foo":1}', "QMP input member 'foo' is unexpected"),
    ('{"execute":"query-status","arguments":1}', "QMP input member 'arguments' must be an object"),
    ('{"execute":"a","execute":"b"}', "JSON parse error, duplicate key"),
    ('{"execute":"query-status",}', "JSON parse error, expecting value"),
    ('{"execute":tru}', "JSON parse error, invalid keyword 'tru'"),
    (
        '{"execute":"x","id":"\\ud800"}',
        "JSON parse error, \\ud800 is not a valid Unicode character",
    ),
]


@pytest.mark.parametrize(("text", "said"), MALFORMED)
def test_what_is_no_command_is_answered_and_the_connection_goes_on(tmp_path, text, said):
    async def scenario(_simulator, path):
        client = await Raw.connect(path)
        assert (await client.send(text))["error"] == {"class": "GenericError", "desc": said}
        assert (await client.execute("query-jobs")) == {"return": []}
        await client.close()

    run(scenario, tmp_path)


def test_commands_need_no_newline_and_may_use_single_quotes(tmp_path):
    async def scenario(_simulator, path):
        client = await Raw.connect(path)
        client.write("{'execute':'query-jobs', 'id': 1}{\"execute\":\"query-jobs\"}")
        assert await client.reply() == {"return": [], "id": 1}
        assert await client.reply() == {"return": []}
        for byte in b'{"execute": "query-jobs"}':
            client.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await client.reply() == {"return": []}
        await client.close()

    run(scenario, tmp_path)


def test_oversized_input_is_refused(tmp_path):
    async def scenario(_simulator, path):
        client = await Raw.connect(path)
        client.write('{"execute": "' + "x" * 200_000)
        assert (await client.reply())["error"]["desc"] == "JSON token size limit exceeded"
        await client.close()

    run(scenario, tmp_path, limit_bytes=100_000)


def test_newer_qemus_say_where_the_error_is():
    stream = JsonStream(positions=True)
    assert list(stream.feed(b'{"a":1}\n{"execute":"query-status",}\n')) == [
        {"a": 1},
        JsonProblem("2:27: JSON parse error, expecting key"),
    ]


def test_the_vm_lives_on_between_clients_and_the_next_client_waits(tmp_path):
    async def scenario(_simulator, path):
        first = await Raw.connect(path)
        await first.execute("stop")
        reader, writer = await asyncio.open_unix_connection(str(path))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readline(), 0.1)
        await first.close()
        second = Raw(reader, writer)
        assert "QMP" in await second.read()
        await second.execute("qmp_capabilities")
        assert (await second.execute("query-status"))["return"]["status"] == "paused"
        await second.close()

    run(scenario, tmp_path)


def test_two_sockets_lead_to_one_vm_and_both_get_its_events(tmp_path):
    async def scenario(simulator, path):
        address = simulator.listen_tcp()
        first = await Raw.connect(path)
        other = Raw(*await asyncio.open_connection(*address))
        await other.read()
        await other.execute("qmp_capabilities")
        await first.execute("stop")
        event = await other.read()
        assert event["event"] == "STOP"
        assert set(event["timestamp"]) == {"seconds", "microseconds"}
        assert (await other.execute("query-status"))["return"]["status"] == "paused"
        await first.close()
        await other.close()

    run(scenario, tmp_path)


def test_a_client_that_never_reads_does_not_hinder_the_end(tmp_path):
    async def scenario(_simulator, path):
        client = await Raw.connect(path)
        for _ in range(60):
            client.write('{"execute": "query-qmp-schema"}\n')
        await asyncio.sleep(0.3)
        client.writer.transport.abort()

    run(scenario, tmp_path)


def test_qemus_own_client_saves_and_sees_the_events(tmp_path):
    async def scenario(_simulator, path):
        client = QMPClient("test")
        await client.connect(str(path))
        with client.listener(("JOB_STATUS_CHANGE", "STOP", "RESUME")) as events:
            assert await client.execute("snapshot-save", SAVE) == {}
            seen = []
            async for event in events:
                seen.append(event.get("data", {}).get("status", event["event"]))
                if seen[-1] == "concluded":
                    break
        assert seen[2:4] == ["STOP", "RESUME"]
        assert (await client.execute("query-jobs"))[0]["status"] == "concluded"
        with pytest.raises(ExecuteError, match="already in use"):
            await client.execute("snapshot-save", SAVE)
        assert len(await client.execute("query-qmp-schema")) > 1000
        await client.disconnect()

    run(scenario, tmp_path)


def test_a_migration_ends_without_anybody_asking(tmp_path):
    async def scenario(_simulator, path):
        client = await Raw.connect(path)
        events = [{"capability": "events", "state": True}]
        await client.execute("migrate-set-capabilities", capabilities=events)
        await client.execute("migrate", uri="exec:cat > f")
        seen = [e["data"]["status"] for e in client.events if "data" in e]
        while "completed" not in seen:
            event = await client.read()
            seen.append(event.get("data", {}).get("status"))
        assert (await client.execute("query-status"))["return"]["status"] == "postmigrate"
        await client.close()

    run(scenario, tmp_path)


def test_quit_answers_and_then_everything_is_gone(tmp_path):
    async def scenario(simulator, path):
        client = await Raw.connect(path)
        assert await client.execute("quit") == {"return": {}}
        assert client.events[0]["event"] == "SHUTDOWN"
        with pytest.raises((EOFError, ConnectionResetError)):
            await client.read()
        await asyncio.wait_for(simulator.died.wait(), 5)
        assert not path.exists()
        await client.close()

    run(scenario, tmp_path)


@pytest.mark.parametrize("kill", [True, False])
def test_after_qemus_death_connections_are_refused(tmp_path, kill):
    async def scenario(simulator, path):
        client = await Raw.connect(path)
        if kill:
            simulator.kill()
        else:
            client.write(json.dumps({"execute": "snapshot-save", "arguments": SAVE}))
        with pytest.raises((EOFError, ConnectionResetError)):
            await client.read_to_the_end()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_unix_connection(str(path))
        await client.close()

    run(scenario, tmp_path, {"fault": "die", "step": "discard-vmstate"})


@pytest.mark.parametrize(("fault", "taken"), [("drop-before", False), ("drop-after", True)])
def test_a_dropped_client_can_come_back_and_ask(tmp_path, fault, taken):
    async def scenario(_simulator, path):
        client = await Raw.connect(path)
        with pytest.raises((EOFError, ConnectionResetError)):
            await client.execute("blockdev-snapshot-internal-sync", device="disk0", name="t")
        await client.close()
        again = await Raw.connect(path)
        nodes = (await again.execute("query-named-block-nodes", flat=True))["return"]
        found = any("snapshots" in node["image"] for node in nodes)
        assert found is taken
        await again.close()

    run(scenario, tmp_path, {"fault": fault, "command": "blockdev-snapshot-internal-sync"})


def test_late_missing_and_broken_replies(tmp_path):
    async def scenario(_simulator, path):
        client = await Raw.connect(path)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        assert await client.execute("query-jobs") == {"return": []}
        assert loop.time() - begun >= 0.1
        client.write('{"execute": "query-name"}')  # swallowed
        assert "UUID" in (await client.execute("query-uuid"))["return"]
        client.write('{"execute": "query-target"}')
        with pytest.raises(ValueError, match=r"utf-8|Invalid"):
            await client.reply()
        client.write('{"execute": "query-kvm"}')
        assert len((await client.reply())["return"]) == 5_000_000
        await client.close()

    rules = (
        {"fault": "slow-reply", "command": "query-jobs", "delay-s": 0.1},
        {"fault": "no-reply", "command": "query-name"},
        {"fault": "garbage-reply", "command": "query-target"},
        {"fault": "oversized-reply", "command": "query-kvm", "size-bytes": 5_000_000},
    )
    run(scenario, tmp_path, *rules)


def test_it_takes_no_place_that_is_taken(tmp_path):
    async def scenario():
        (tmp_path / "file").write_text("mine")
        async with Simulator(state()) as simulator, Simulator(state()) as other:
            with pytest.raises(BadInput, match="no socket"):
                simulator.listen(tmp_path / "file")
            with pytest.raises(BadInput, match="cannot listen"):
                simulator.listen(tmp_path / ("x" * 200))
            simulator.listen(tmp_path / "q")
            with pytest.raises(BadInput, match="already listens"):
                other.listen(tmp_path / "q")
            _, port = simulator.listen_tcp()
            with pytest.raises(BadInput, match="cannot listen"):
                other.listen_tcp(port=port)
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_serve_serves_until_it_is_told_to_stop(tmp_path, kind):
    async def scenario():
        ready, stop = asyncio.get_running_loop().create_future(), asyncio.Event()
        address = str(tmp_path / "q") if kind == "unix" else "127.0.0.1:0"
        task = asyncio.create_task(
            serve(state(), address, ready=ready.set_result, until=stop, seed=3)
        )
        told = await ready
        client = QMPClient("test")
        where = told if kind == "unix" else (told.rpartition(":")[0], int(told.rpartition(":")[2]))
        await client.connect(where)
        await client.execute("stop")
        await client.disconnect()
        stop.set()
        assert (await asyncio.wait_for(task, 10)).run_state == "paused"
        assert not list(tmp_path.iterdir())

    asyncio.run(scenario())


def test_qmp_shell_is_satisfied(tmp_path):
    async def scenario(_simulator, path):
        shell = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "qemu.qmp.qmp_shell", str(path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HOME": str(path.parent.parent)},
        )
        typed = (
            b"query-status\n"
            b'snapshot-save job-id=j tag=t vmstate=disk0 devices=["disk0","disk1"]\n'
            b"query-jobs\n"
        )
        out, err = await asyncio.wait_for(shell.communicate(typed), 20)
        assert b'"running"' in out.replace(b"'", b'"'), err
        assert b"snapshot-save" in out
        assert b"concluded" in out

    run(scenario, tmp_path)
