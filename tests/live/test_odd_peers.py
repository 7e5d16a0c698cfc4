"""A peer that answers a real QEMU's client with what is no QMP, in the guest's pause: all is undone."""

import asyncio
import json

import pytest

from backends.qemu import connect
from backends.simulator.json_stream import JsonStream
from planner.compile.plan import compile_request
from planner.model.request_text import read_request
from planner.run.pump import Pump, ask_facts
from planner.save.save_machine import SaveMachine
from tests.live.faults import assert_nothing_left, request, start
from tests.support.fixtures import long

pytestmark = pytest.mark.real_qemu

DEEP = 50_000
ODD = {
    "deep": b"[" * DEEP + b"]" * DEEP,
    "not-utf-8": b'"\xe9"',
    "half-a-pair": b'"\\ud800"',
    "large-number": b"9" * 5000,
}
LIMIT_BYTES = 2**24


def relay(vm, command, odd):
    """Serves one client after the other; the first answer to this command is an odd one."""
    lies = [odd]

    async def serve(reader, writer):
        from_qemu, to_qemu = await asyncio.open_unix_connection(vm.qmp_path, limit=LIMIT_BYTES)
        ids = []
        await asyncio.gather(up(reader, to_qemu, ids), down(from_qemu, writer, ids))

    async def up(reader, to_qemu, ids):
        commands = JsonStream()
        while chunk := await reader.read(65536):
            ids += [each["id"] for each in commands.feed(chunk) if each["execute"] == command]
            to_qemu.write(chunk)
        to_qemu.close()

    async def down(from_qemu, writer, ids):
        while line := await from_qemu.readline():
            answers = json.loads(line).get("id") in ids
            writer.write(b'{"id": "%b", "return": %b}\n' % (ids[0].encode(), lies.pop())
                         if answers and lies else line)  # fmt: skip
        writer.close()

    return serve


@pytest.mark.parametrize("command", ["transaction", *long("stop", "cont")])
@pytest.mark.parametrize("odd", ["deep", *long(*(name for name in ODD if name != "deep"))])
def test_an_answer_in_the_pause_that_is_no_qmp_is_undone(qemu, command, odd):
    """Its outcome is not known, so the VM is asked on a new connection; the guest runs again."""
    vm = start(qemu)
    path = str(vm.directory / "relay")

    async def work():
        async with await asyncio.start_unix_server(relay(vm, command, ODD[odd]), path):
            link = await connect(path)
            try:
                facts = await ask_facts(link)
                program = compile_request(read_request(request()), facts, "transactional").program
                return await Pump(SaveMachine.on(program, facts), link, images=link.images).run()
            finally:
                await link.close()

    outcome = asyncio.run(work())
    assert outcome.failure is not None
    assert outcome.phase == "undone"
    assert_nothing_left(vm)
