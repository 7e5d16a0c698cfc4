"""What going back costs: the library and the command line beside bare QMP, as ratios of one run.

Targets: a load of the library at most 2 times bare QMP (`stop`, `snapshot-load`, its job to the end,
`cont`); the command at most 3 times `python -c 'import asyncio'` and a bare load together.

Usage: python benchmarks/reset_loop.py [LOADS]
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import snapplan
from qemu.qmp import QMPClient

from benchmarks.common import machine, table, verdict
from tests.support.qemu import qemu_binary

DISKS = ("disk0", "disk1")
NODES = [f"{disk}-node" for disk in DISKS]


def start(folder):
    """A QEMU with two small disks and an idle machine of 128 MiB."""
    words = [
        qemu_binary(),
        "-accel",
        "kvm",
        "-accel",
        "tcg",
        "-m",
        "128",
        "-nodefaults",
        "-display",
        "none",
    ]
    for disk in DISKS:
        image = folder / f"{disk}.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "256M"], check=True)
        words += ["-drive", f"file={image},if=none,id={disk},node-name={disk}-node"]
        words += ["-device", f"virtio-blk-pci,drive={disk}"]
    return subprocess.Popen([*words, "-qmp", f"unix:{folder}/qmp,server=on,wait=off"])


async def bare(client, number):
    """A load as a script would do it, with nothing checked."""
    job = f"bare{number}"
    await client.execute("stop")
    with client.listener("JOB_STATUS_CHANGE") as events:
        arguments = {"job-id": job, "tag": "base", "vmstate": NODES[0], "devices": NODES}
        await client.execute("snapshot-load", arguments)
        async for event in events:
            if event["data"]["id"] == job and event["data"]["status"] == "concluded":
                break
    await client.execute("job-dismiss", {"id": job})
    await client.execute("cont")


async def timed(work, loads):
    """Seconds of each."""
    found = []
    for number in range(loads):
        begin = time.perf_counter()
        await work(number)
        found.append(time.perf_counter() - begin)
    return found


async def measure(socket, store, loads):
    async with snapplan.attach(socket, store=store) as vm:
        snapshot = await vm.save("base")
        await snapshot.load()  # the first one asks for the schema
        library = await timed(lambda _: snapshot.load(), loads)
    client = QMPClient("bench")
    await client.connect(socket)
    by_hand = await timed(lambda number: bare(client, number), loads)
    await client.disconnect()
    return library, by_hand


def commands(socket, store, rounds):
    """Seconds of the command, and of a Python that does nothing but import asyncio."""
    environment = {**os.environ, "SNAPPLAN_STORE": str(store)}
    python = Path(sys.executable)
    snap = [python.with_name("snapplan"), "load", "base", "--vm", socket, "--yes"]
    columns = []
    for words in (snap, [python, "-c", "import asyncio"]):
        times = []
        for _ in range(rounds):
            begin = time.perf_counter()
            subprocess.run(words, env=environment, capture_output=True, check=True)
            times.append(time.perf_counter() - begin)
        columns.append(statistics.median(times))
    return columns


def main():
    loads = int(sys.argv[1]) if sys.argv[1:] else 30
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = start(folder)
        socket, store = f"{folder}/qmp", folder / "store"
        try:
            while not Path(socket).exists():
                time.sleep(0.05)
            time.sleep(1)  # the firmware comes to rest
            library, by_hand = asyncio.run(measure(socket, store, loads))
            command, python = commands(socket, store, max(loads // 3, 3))
        finally:
            process.kill()
            process.wait()
    one, hand = statistics.median(library), statistics.median(by_hand)
    print(machine())
    rows = [
        ("bare QMP", f"{hand * 1000:.1f}"),
        ("library", f"{one * 1000:.1f}"),
        ("python -c 'import asyncio'", f"{python * 1000:.1f}"),
        ("snapplan load", f"{command * 1000:.1f}"),
    ]
    print(table(("a load of two disks and 128 MiB", "median, ms"), rows))
    ratios = [
        verdict("library / bare QMP", one / hand, 2.0),
        verdict("snapplan load / (import asyncio + bare QMP)", command / (python + hand), 3.0),
    ]
    print(table(("ratio", "measured", "target", ""), ratios))


if __name__ == "__main__":
    main()
