"""How many commands a second the simulated QEMU answers, with 200 disks, over its unix socket.

Target: 2,000 a second or more on one core (client and server share this process, and so one core).
Usage: python benchmarks/simulator.py
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from backends.simulator import Simulator
from planner.semantics import vm_state

DISKS = [f"disk{number}" for number in range(200)]
ROUNDS = 2000


async def connect(path):
    reader, writer = await asyncio.open_unix_connection(path, limit=2**26)
    await reader.readline()
    await send(reader, writer, {"execute": "qmp_capabilities"})
    return reader, writer


async def send(reader, writer, command):
    writer.write(json.dumps(command).encode() + b"\n")
    while "return" not in (reply := json.loads(await reader.readline())):
        if "error" in reply:
            raise RuntimeError(reply)
    return reply["return"]


def commands():
    """What a manager sends all day: looks, pauses, and a snapshot taken and deleted again."""
    one = {"device": "disk7", "name": "bench"}
    query = [{"execute": "query-status"}, {"execute": "query-jobs"}, {"execute": "query-migrate"}]
    pause = [{"execute": "stop"}, {"execute": "cont"}]
    take = {"execute": "blockdev-snapshot-internal-sync", "arguments": one}
    delete = {"execute": "blockdev-snapshot-delete-internal-sync", "arguments": one}
    return [*query, *pause, take, delete]


async def rate(stream, sequence, rounds):
    begin = time.process_time()
    for number in range(rounds):
        await send(*stream, sequence[number % len(sequence)])
    return rounds / (time.process_time() - begin)


async def main():
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/qmp"
        async with Simulator(vm_state("7.2", DISKS), seed=1) as simulator:
            simulator.listen(path)
            stream = await connect(path)
            mixed = await rate(stream, commands(), ROUNDS)
            nodes = [{"execute": "query-named-block-nodes", "arguments": {"flat": True}}]
            looks = await rate(stream, nodes, 200)
            stream[1].close()
            await stream[1].wait_closed()
    print(
        f"{len(DISKS)} disks: {mixed:.0f} commands a second of CPU time (mixed), {looks:.0f} looks"
    )


if __name__ == "__main__":
    asyncio.run(main())
