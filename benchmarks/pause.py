"""How long the guest stands still, in each design and for plain `snapshot-save`, as its memory grows.

    .venv/bin/python -m benchmarks.pause --qemu 7.2=qemu-system-x86_64 --qemu 10.0=… --qemu 11.1=…

A real QEMU with two qcow2 disks runs a guest that keeps rewriting so much memory at 200 MiB/s
(`backends/qemu_facts/lab/writer.asm`); it demands what it wrote, so a guest that was harmed ends the
benchmark.
All ways run in one VM, in turn, each round beginning with another; `, overlays` says that every disk's
part is external, with its overlay made before the pause; `, a copy` that disk1 is copied, `, copies`
that both disks are.  What a run made is deleted or merged after it, and `sync` is waited for before the
next, so that none pays for what its neighbour left unwritten.
The pause is QEMU's own: from its STOP event to its RESUME event.  Figures are medians and quartiles over
rounds; what counts is the ratio to `snapshot-save` in the same VM, for the machine's load is in both.

The first background capture of a VM is told apart: it finds memory in huge pages and splits them
(`specs/pause.md`).  Figures are kept after each VM and drawn together, so a long campaign may be cut
into pieces: what is measured anew replaces what `out/pause.json` held of that QEMU and that memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from attrs import define, field

from backends.host import QemuHost
from backends.qemu import connect
from benchmarks.common import OUT, machine, save
from benchmarks.pause_report import FIRST, MIB_PER_S, PLAIN, draw, report
from planner.compile.plan import compile_request
from planner.errors import Refused
from planner.model.node_names import OVERLAY_NODE_PREFIX
from planner.model.request_text import request_from_plain
from planner.model.text import Document
from planner.run.phases import Phase
from planner.run.pump import Pump, ask_facts
from planner.save.save_machine import SaveMachine
from tests.support import writer
from tests.support.qemu import QemuVm, qemu_img_binary
from tests.support.writer import start_writer, wait_written

DISKS = ("disk0", "disk1")
CAPTURES = {"external": "stopped", "live": "live", "background": "background"}
OVERLAID = {f"{design}, overlays": design for design in CAPTURES}
OVERLAYS = (*OVERLAID, "vmstate-node, overlays")
COPIED = {"transactional, a copy": DISKS[1:], "vmstate-node, copies": DISKS}
IMAGED = dict.fromkeys(
    ("vmstate-node", "vmstate-node, overlays", "vmstate-node, copies"), "vmstate-node"
)
DESIGN = {**OVERLAID, **IMAGED, "transactional, a copy": "transactional"}
WAYS = tuple(
    dict.fromkeys((PLAIN, "monolithic", "transactional", *CAPTURES, *OVERLAID, *IMAGED, *COPIED))
)
GIVE_UP_S = 60
Runs = dict[str, list[tuple[float, float]]]


# --- one run ------------------------------------------------------------------------------------


def run_plain(vm: QemuVm, tag: str) -> tuple[float, float]:
    """`snapshot-save` and nothing else."""
    vm.qmp.drain()  # events of the run before it, which another client made
    mark = vm.qmp.mark()
    begin = time.perf_counter()
    error = vm.run_job("snapshot-save", tag=tag, devices=DISKS)
    total_ms = (time.perf_counter() - begin) * 1000
    if error:
        raise AssertionError(error)
    at_us = {
        name: event["timestamp"]["seconds"] * 10**6 + event["timestamp"]["microseconds"]
        for name in ("STOP", "RESUME")
        for event in [vm.qmp.wait_event(name, since=mark)]
    }
    pause_ms = (at_us["RESUME"] - at_us["STOP"]) / 1000
    if not 0 < pause_ms <= total_ms:
        raise AssertionError(f"a pause of {pause_ms} ms in a run of {total_ms} ms")
    return pause_ms, total_ms


async def run_design(vm: QemuVm, way: str, tag: str) -> tuple[float, float] | None:
    """A plan through the library; None where the stream never caught up with the guest.

    Raises:
        Refused: This QEMU cannot do it.
    """
    design = DESIGN.get(way, way)
    stream = vm.directory / f"{tag}.state"
    state: dict[str, object] = {"internal": DISKS[0]}
    if design in CAPTURES:
        state = {
            "external": str(stream),
            "capture": CAPTURES[design],
            "give-up-after": GIVE_UP_S,
        }
    if way in IMAGED:
        state = {"image": str(stream)}
    disks: dict[str, object] = dict.fromkeys(DISKS, "internal")
    if way in OVERLAYS:
        disks = {disk: {"external": str(vm.directory / f"{tag}.{disk}")} for disk in DISKS}
    copies = {disk: vm.directory / f"{tag}.{disk}" for disk in COPIED.get(way, ())}
    disks |= {disk: {"copy": str(path)} for disk, path in copies.items()}
    plain = {"tag": tag, "machine-state": state, "disks": disks}
    backend = await connect(str(vm.qmp_path))
    try:
        facts = await ask_facts(backend)
        plan = compile_request(request_from_plain(Document(plain)), facts, design)
        pump = Pump(SaveMachine.on(plan.program, facts), backend, host=QemuHost(qemu_img_binary()))
        begin = time.perf_counter()
        outcome = await pump.run()
        total_ms = (time.perf_counter() - begin) * 1000
    finally:
        await backend.close()
        for path in (stream, *copies.values()):
            path.unlink(missing_ok=True)
    if outcome.phase is Phase.UNDONE:
        failure = outcome.failure
        if failure is not None and failure.code == "stream-not-converging":
            return None
    if outcome.phase is not Phase.DONE or outcome.pause_us is None:
        raise AssertionError(f"{design}: the run failed: {outcome}")
    return outcome.pause_us / 1000, total_ms


def run_way(vm: QemuVm, way: str, tag: str) -> tuple[float, float] | None:
    """One run, and what it made deleted again."""
    os.sync()
    took = run_plain(vm, tag) if way == PLAIN else asyncio.run(run_design(vm, way, tag))
    if way in OVERLAYS:
        merge_overlays(vm)
    elif took is not None and (error := delete_parts(vm, way, tag)):
        raise AssertionError(error)
    wait_written(vm, writer.written_mib(vm.console()) + MIB_PER_S)
    return took


def delete_parts(vm: QemuVm, way: str, tag: str) -> str | None:
    """Delete what is inside of the disks' images; why it failed."""
    disks = [disk for disk in DISKS if disk not in COPIED.get(way, ())]
    return vm.delete(tag, disks) if disks else None


def merge_overlays(vm: QemuVm) -> None:
    """Write every overlay back into the image under it, and take it away."""
    for block in vm.execute("query-block"):
        inserted = block["inserted"]
        overlay = inserted["node-name"]
        if not overlay.startswith(OVERLAY_NODE_PREFIX):
            continue
        mark = vm.qmp.mark()
        vm.execute("block-commit", {"job-id": "merge", "device": overlay})
        vm.qmp.wait_event("BLOCK_JOB_READY", since=mark)
        vm.execute("job-complete", {"id": "merge"})
        vm.qmp.wait_until(lambda: not vm.execute("query-jobs"), "the overlay merged")
        vm.execute("blockdev-del", {"node-name": overlay})
        Path(inserted["file"]).unlink()


@define
class Series:
    """All runs in one VM: what each way took, or why it cannot be measured."""

    vm: QemuVm
    ms: Runs = field(factory=dict)
    left_out: dict[str, str] = field(factory=dict)

    def run(self, way: str, tag: str, name: str) -> None:
        """Run one way and note what it took, unless it is known that it cannot be done."""
        if way in self.left_out:
            return
        try:
            took = run_way(self.vm, way, tag)
        except Refused as refused:
            self.left_out[way] = "; ".join(sorted({problem.code for problem in refused.problems}))
            return
        if took is None:
            self.left_out[way] = f"not complete after {GIVE_UP_S} s"
            return
        self.ms.setdefault(name, []).append(took)
        print(f"{name}: pause {took[0]:.0f} ms, in all {took[1]:.0f} ms", flush=True)


def measure(memory_mib: int, rounds: int, accelerator: str, ways: tuple[str, ...] = WAYS) -> Series:
    """These ways in one VM."""
    with start_writer(memory_mib, MIB_PER_S, accelerator) as vm:
        tags = (f"run-{number}" for number in range(1000))
        series = Series(vm)
        if "background" in ways:
            series.run("background", next(tags), FIRST)
        for at in range(rounds):
            for way in (*ways[at % len(ways) :], *ways[: at % len(ways)]):
                series.run(way, next(tags), way)
    return series


# --- the command --------------------------------------------------------------------------------


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--qemu", action="append", metavar="VERSION=BINARY", default=[])
    arguments.add_argument("--mib", type=int, nargs="+", default=[256, 1024, 4096])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    arguments.add_argument("--accelerator", default="tcg", help="as in QEMU: tcg, kvm, kvm:tcg")
    given = arguments.parse_args()
    at = OUT / "pause.json"
    kept: dict[str, Any] = json.loads(at.read_text(encoding="utf-8")) if at.exists() else {}
    for version, _, binary in (text.partition("=") for text in given.qemu):
        os.environ["SNAPPLAN_QEMU"] = binary
        for mib in given.mib:
            print(f"QEMU {version}, {mib} MiB", flush=True)
            load = "/".join(f"{value:.1f}" for value in os.getloadavg())
            series = measure(mib, given.rounds, given.accelerator, tuple(given.ways))
            kept[f"{version}/{mib}"] = {
                "load-before": load,
                "machine": machine(),
                "accelerator": given.accelerator,
                "rounds": given.rounds,
                "ms": series.ms,
                "left-out": series.left_out,
            }
            OUT.mkdir(exist_ok=True)
            at.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    save("pause", report(kept, WAYS), kept, draw(kept, WAYS))


if __name__ == "__main__":
    main()
