"""How long a plan of eight disks takes through the library, beside bare scripts of the same commands.

    .venv/bin/python -m benchmarks.run

All talk to one real QEMU (which one: `tests.support.qemu`), over the same socket, one after the other.
The library runs a compiled plan: `Pump` on `QemuBackend`.  What it sends is recorded; a bare script
sends that, tag and job id replaced, one command after the other, waits for each reply and for the same
event (the job concluded), and checks nothing.  There are two of them: one on qemu.qmp, which is what
the library itself stands on, as anybody would write it (the target is against this one), and one on an
asyncio stream with nothing but `json`, so that what qemu.qmp costs is in the figure as well (stricter).
Each run has a tag of its own, and its snapshots are deleted after it, unmeasured.

Figures are wall-clock medians over repeats, library and scripts in turn, which of them begins changing
each time; the target's ratio is of medians, and beside it stands the median of the ratios of neighbours.
The pause is QEMU's own: from its STOP event to its RESUME event.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from statistics import median
from typing import Any

from attrs import define, field, frozen
from qemu.qmp import EventListener, QMPClient

from backends.qemu import QemuBackend, connect
from benchmarks.common import machine, pyplot, save, table, verdict
from planner.compile.plan import compile_request
from planner.model.request_text import request_from_plain
from planner.model.text import Document
from planner.run.phases import Phase
from planner.run.pump import Pump, ask_facts
from planner.save.save_machine import SaveMachine
from tests.support.qemu import QemuVm, qemu_version, start_qemu
from tests.support.topology import DiskSpec, Topology

DESIGNS = ("monolithic", "transactional")
DISKS = tuple(f"disk{number}" for number in range(8))
TIMES_BARE = 1.05
LIBRARY, ON_CLIENT, ON_STREAM = "library", "script on qemu.qmp", "script on a stream"
WAYS = (LIBRARY, ON_CLIENT, ON_STREAM)
READ_LIMIT_BYTES = 2**26


@frozen
class Took:
    """What one run took, in milliseconds: in all, and the guest's pause."""

    total_ms: float
    pause_ms: float


# --- through the library ------------------------------------------------------------------------


class Recorder:
    """A backend that notes what passes through it."""

    def __init__(self, backend: QemuBackend) -> None:
        self._backend = backend
        self.sent: list[tuple[str, Mapping[str, object]]] = []
        self.connect, self.close = backend.connect, backend.close
        self.wait_for_event, self.pending_events = backend.wait_for_event, backend.pending_events

    async def execute(
        self, command: str, arguments: Mapping[str, object], timeout_s: float
    ) -> object:
        self.sent.append((command, arguments))
        return await self._backend.execute(command, arguments, timeout_s)


async def through_library(
    vm: QemuVm, design: str, tag: str, watch: Callable[[QemuBackend], Any] = lambda backend: backend
) -> Took:
    """Run a plan; only the run itself is measured."""
    backend = await connect(str(vm.qmp_path))
    try:
        facts = await ask_facts(backend)
        plain = {
            "tag": tag,
            "machine-state": {"internal": DISKS[0]},
            "disks": dict.fromkeys(DISKS, "internal"),
        }
        plan = compile_request(request_from_plain(Document(plain)), facts, design)
        pump = Pump(SaveMachine.on(plan.program, facts), watch(backend))
        outcome, total_ms = await timed(pump.run)
    finally:
        await backend.close()
    if outcome.phase is not Phase.DONE or outcome.pause_us is None:
        raise AssertionError(f"the run failed: {outcome}")
    return Took(total_ms, outcome.pause_us / 1000)


async def record(vm: QemuVm, design: str, tag: str) -> str:
    """The commands that a run sends, as JSON."""
    recorders: list[Recorder] = []

    def watch(backend: QemuBackend) -> Recorder:
        recorders.append(Recorder(backend))
        return recorders[0]

    await through_library(vm, design, tag, watch)
    return json.dumps(recorders[0].sent)


async def timed(work: Callable[[], Awaitable[Any]]) -> tuple[Any, float]:
    gc.collect()
    begin = time.perf_counter()
    result = await work()
    return result, (time.perf_counter() - begin) * 1000


# --- bare, on qemu.qmp --------------------------------------------------------------------------


async def through_client(vm: QemuVm, commands: list[tuple[str, dict[str, Any]]]) -> Took:
    """Send the commands; only that is measured."""
    client, listener = QMPClient("bare"), EventListener()
    client.register_listener(listener)
    await client.connect(str(vm.qmp_path))
    events: list[Any] = []

    async def replay() -> None:
        for command, arguments in commands:
            await client.execute(command, arguments)
            while command == "snapshot-save" and not is_concluded(events, arguments["job-id"]):
                events.append(await listener.get())

    try:
        _, total_ms = await timed(replay)
        events += listener.clear()
    finally:
        await client.disconnect()
    return Took(total_ms, pause_ms(events))


def is_concluded(events: Sequence[Mapping[str, Any]], job_id: str) -> bool:
    told = (event.get("data", {}) for event in events)
    return any((data.get("id"), data.get("status")) == (job_id, "concluded") for data in told)


def pause_ms(events: Sequence[Mapping[str, Any]]) -> float:
    at_us = {
        event["event"]: event["timestamp"]["seconds"] * 10**6 + event["timestamp"]["microseconds"]
        for event in events
    }
    return (at_us["RESUME"] - at_us["STOP"]) / 1000


# --- bare, on a stream --------------------------------------------------------------------------


@define
class Bare:
    """Just enough of QMP to send commands one by one and to hear events."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    events: list[dict[str, Any]] = field(factory=list)

    async def read(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self.reader.readline())
        if "event" in message:
            self.events.append(message)
        return message

    async def execute(self, command: str, arguments: Mapping[str, object]) -> None:
        message = {"execute": command, "arguments": arguments}
        self.writer.write(json.dumps(message).encode() + b"\n")
        await self.writer.drain()
        while "return" not in (message := await self.read()):
            if "error" in message:
                raise AssertionError(f"{command}: {message}")

    async def wait_concluded(self, job_id: str) -> None:
        while not is_concluded(self.events, job_id):
            await self.read()

    async def replay(self, commands: list[tuple[str, dict[str, Any]]]) -> None:
        for command, arguments in commands:
            await self.execute(command, arguments)
            if command == "snapshot-save":
                await self.wait_concluded(arguments["job-id"])


async def through_script(vm: QemuVm, commands: list[tuple[str, dict[str, Any]]]) -> Took:
    """Send the commands; only that is measured."""
    reader, writer = await asyncio.open_unix_connection(str(vm.qmp_path), limit=READ_LIMIT_BYTES)
    bare = Bare(reader, writer)
    try:
        await bare.read()
        await bare.execute("qmp_capabilities", {})
        _, total_ms = await timed(lambda: bare.replay(commands))
    finally:
        writer.close()
        await writer.wait_closed()
    return Took(total_ms, pause_ms(bare.events))


# --- the measurement ----------------------------------------------------------------------------


async def measure(vm: QemuVm, repeats: int) -> dict[str, dict[str, list[Took]]]:
    """All ways, both designs, in turn."""
    found: dict[str, dict[str, list[Took]]] = {d: {way: [] for way in WAYS} for d in DESIGNS}
    recorded = {design: await recorded_text(vm, design) for design in DESIGNS}
    for at in range(-1, repeats):  # the first round warms up, and does not count
        for design in DESIGNS:
            first = at % len(WAYS)
            for way in WAYS[first:] + WAYS[:first]:
                tag = f"{WAYS.index(way)}-{design}-{at}"
                took = await one_run(vm, way, design, tag, recorded[design])
                if at >= 0:
                    found[design][way].append(took)
    return found


async def recorded_text(vm: QemuVm, design: str) -> str:
    text = await record(vm, design, "recorded-tag")
    delete(vm, "recorded-tag")
    return text


async def one_run(vm: QemuVm, way: str, design: str, tag: str, recorded: str) -> Took:
    if way == LIBRARY:
        took = await through_library(vm, design, tag)
    else:
        commands = json.loads(recorded.replace("recorded-tag", tag))
        script = through_client if way == ON_CLIENT else through_script
        took = await script(vm, commands)
    delete(vm, tag)
    return took


def delete(vm: QemuVm, tag: str) -> None:
    error = vm.delete(tag, DISKS)
    if error:
        raise AssertionError(error)


def report(found: dict[str, dict[str, list[Took]]], repeats: int) -> str:
    targets, figures = [], []
    for design, ways in found.items():
        for what, of in (("run", total_of), ("pause", pause_of)):
            values = {way: [of(took) for took in ways[way]] for way in WAYS}
            library = values[LIBRARY]
            for way in (ON_CLIENT, ON_STREAM):
                ratio = median(library) / median(values[way])
                row = verdict(f"{design}: {what}, {LIBRARY} / {way}", ratio, TIMES_BARE)
                if way == ON_STREAM:
                    row = (*row[:2], "-", "(stricter)")
                pairs = median(a / b for a, b in zip(library, values[way], strict=True))
                targets.append((*row, f"{pairs:.3f}"))
            figures.append(
                (
                    f"{design}: {what}",
                    *(f"{get(values[way]):.2f}" for get in (median, min) for way in WAYS),
                )
            )
    major, minor = qemu_version()
    return "\n\n".join(
        [
            f"{machine()}, QEMU {major}.{minor}, {len(DISKS)} disks, {repeats} repeats",
            table(("ratio of medians", "measured", "target", "", "median of ratios"), targets),
            table(
                ("milliseconds", *(f"{way}, {what}" for what in ("median", "min") for way in WAYS)),
                figures,
            ),
        ]
    )


def total_of(took: Took) -> float:
    return took.total_ms


def pause_of(took: Took) -> float:
    return took.pause_ms


def draw(found: dict[str, dict[str, list[Took]]]) -> Any:
    figure, axes = pyplot().subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for axis, (title, of) in zip(
        axes, (("run", total_of), ("guest's pause", pause_of)), strict=True
    ):
        boxes = {
            f"{design}\n{way.replace(' on ', chr(10))}": [of(took) for took in runs]
            for design, ways in found.items()
            for way, runs in ways.items()
        }
        axis.boxplot(list(boxes.values()), tick_labels=list(boxes))
        axis.set(title=title, ylabel="milliseconds")
        axis.set_ylim(bottom=0)
    figure.suptitle("A plan of eight disks: the library beside bare scripts")
    return figure


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=40)
    repeats = arguments.parse_args().repeats
    topology = Topology(disks=tuple(DiskSpec(name) for name in DISKS))
    with start_qemu(topology) as vm:
        found = asyncio.run(measure(vm, repeats))
    plain = {
        design: {way: [(t.total_ms, t.pause_ms) for t in runs] for way, runs in ways.items()}
        for design, ways in found.items()
    }
    save("run", report(found, repeats), {"machine": machine(), "ms": plain}, draw(found))


if __name__ == "__main__":
    main()
