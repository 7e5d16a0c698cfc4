"""How long a guest takes to live again, in each way of going back, as its memory grows.

    .venv/bin/python -m benchmarks.restore --qemu 7.2=qemu-system-x86_64 --qemu 10.0=… --qemu 11.1=…

A guest under TCG (`backends/qemu_facts/lab/writer.asm`) has filled so much memory, demands of each page
what it last wrote, and says something at least each 10 ms. One state of it is kept in every way at once:
inside the image (`snapshot-save`), as a stream, as `mapped-ram` where there is one, and as a template
(memory in a file, the devices' state beside it). Then each way goes back, in turn, each round beginning
with another.

What is timed, by one clock from outside:
- *ready*: from the start of QEMU's process until it answers QMP (a spare has been started before);
- *read*: from the command that reads (`migrate-incoming`, `snapshot-load`) to the reply to `cont`;
- *life*: from the command, or the start of the process, to the first byte that the guest says.

`empty` is QEMU of the same machine with the same disk and as much memory, started with `-S` and told
`cont`: nothing can be quicker.  *Cold* means that the page cache has dropped the files (`posix_fadvise`)
after they were written out.  Clones are started side by side; their memory is what all have in
`smaps_rollup` as Pss, before the first runs and a second later.

This is bare QMP: snapplan's own commands are not in it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import define

from benchmarks.common import OUT, machine, save
from benchmarks.restore_report import draw, report
from benchmarks.restore_vm import Host, Vm
from tests.support.qemu import qemu_version

WAYS = ("empty", "snapshot-load", "incoming", "mapped-ram", "template, cold", "template", "spare")
CLONES = (1, 4, 16)
MAPPED_RAM_SINCE = (9, 0)
GUEST_MIB_PER_S = 10
QUICK = ("empty", "template", "spare")
"""What takes so little that many rounds can be had: its noise is the larger."""


@define
class Took:
    """Milliseconds of one way back."""

    ready: float | None
    read: float
    life: float


# --- what is gone back to -------------------------------------------------------------------------


def keep_in_all_ways(host: Host) -> None:
    """Run the source until its memory is full, and keep one state of it in every way."""
    with host.start("source") as vm:
        vm.wait_filled()
        vm.execute("stop")
        vm.run_job("snapshot-save", tag="kept", devices=["disk0"], vmstate="disk0")
        vm.write_stream(host.stream)
        if host.has_mapped_ram:
            vm.execute("cont")
            vm.execute("stop")
            vm.write_stream(host.mapped, "mapped-ram")
    with host.start("maker", *host.memory_words(share=True), incoming=True) as vm:
        vm.read_stream(host.stream)
        vm.write_stream(host.state, "x-ignore-shared")
    os.sync()


# --- the ways -------------------------------------------------------------------------------------


def empty(host: Host) -> Took:
    begin = time.perf_counter()
    with host.start("empty") as vm:
        ready = time.perf_counter()
        vm.execute("cont")
        return took(begin, ready, time.perf_counter(), None)


def snapshot_load(host: Host) -> Took:
    """In a VM that stands: what `snapshot-load` wants."""
    with host.start("load", base=True) as vm:
        begin = time.perf_counter()
        vm.run_job("snapshot-load", tag="kept", devices=["disk0"], vmstate="disk0")
        vm.execute("cont")
        read = time.perf_counter()
        return took(begin, None, read, vm.wait_life())


def incoming(host: Host, file: Path, *names: str, words: tuple[str, ...] = ()) -> Took:
    begin = time.perf_counter()
    with host.start("restored", *words, incoming=True) as vm:
        return read_and_run(vm, file, names, begin)


def read_and_run(vm: Vm, file: Path, names: tuple[str, ...], begin: float | None) -> Took:
    ready = time.perf_counter()
    vm.read_stream(file, *names)
    vm.execute("cont")
    read = time.perf_counter()
    life = vm.wait_life()
    if begin is None:
        return took(ready, None, read, life)
    return Took(ms(ready - begin), ms(read - ready), ms(life - begin))


def template(host: Host) -> Took:
    words = host.memory_words(share=False)
    return incoming(host, host.state, "x-ignore-shared", words=words)


def cold_template(host: Host) -> Took:
    host.drop_from_cache(host.memory, host.state)
    return template(host)


def spare(host: Host) -> Took:
    with host.start("spare", *host.memory_words(share=False), incoming=True) as vm:
        return read_and_run(vm, host.state, ("x-ignore-shared",), None)


def ms(seconds: float) -> float:
    return seconds * 1000


def took(begin: float, ready: float | None, read: float, life: float | None) -> Took:
    return Took(
        None if ready is None else ms(ready - begin),
        ms(read - (begin if ready is None else ready)),
        ms((read if life is None else life) - begin),
    )


def ways_of(host: Host) -> dict[str, Callable[[], Took]]:
    found: dict[str, Callable[[], Took]] = {
        "empty": lambda: empty(host),
        "snapshot-load": lambda: snapshot_load(host),
        "incoming": lambda: incoming(host, host.stream),
        "template, cold": lambda: cold_template(host),
        "template": lambda: template(host),
        "spare": lambda: spare(host),
    }
    if host.has_mapped_ram:
        found["mapped-ram"] = lambda: incoming(host, host.mapped, "mapped-ram")
    return found


# --- many at once ---------------------------------------------------------------------------------


def clones(host: Host, count: int) -> dict[str, float]:
    """So many side by side: until all live, and what memory they cost together."""
    with contextlib.ExitStack() as running:
        begin = time.perf_counter()
        started = [
            running.enter_context(
                host.start(f"clone{number}", *host.memory_words(share=False), incoming=True)
            )
            for number in range(count)
        ]
        for vm in started:
            vm.read_stream(host.state, "x-ignore-shared")
        read = time.perf_counter()
        before = sum(vm.pss_mib() for vm in started)
        paused = time.perf_counter()
        for vm in started:
            vm.execute("cont")
        for vm in started:
            vm.wait_life()
        end = time.perf_counter()
        time.sleep(1)
        after = sum(vm.pss_mib() for vm in started)
    return {
        "life": ms(end - begin - (paused - read)),
        "pss-before": before,
        "pss-after": after,
    }


# --- the runs -------------------------------------------------------------------------------------


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="sp-"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def measure(mib: int, rounds: int, more: int) -> dict[str, Any]:
    with folder() as where:
        host = Host(where, mib, GUEST_MIB_PER_S, has_mapped_ram=qemu_version() >= MAPPED_RAM_SINCE)
        host.create_disk()
        keep_in_all_ways(host)
        sizes = {
            file.name: file.stat().st_blocks * 512
            for file in (host.stream, host.state, host.memory, host.mapped)
            if file.exists()
        }
        ways = ways_of(host)
        ms_of: dict[str, list[list[float | None]]] = {way: [] for way in ways}
        order = [way for way in WAYS if way in ways]
        template(host)  # what is warm has been read once
        for at in range(rounds):
            for way in (*order[at % len(order) :], *order[: at % len(order)]):
                one = ways[way]()
                ms_of[way].append([one.ready, one.read, one.life])
                print(f"{way}: read {one.read:.0f} ms, life {one.life:.0f} ms", flush=True)
                if way == "template, cold":
                    host.warm(host.memory, host.state)
        for way in QUICK * more:
            one = ways[way]()
            ms_of[way].append([one.ready, one.read, one.life])
        many = {str(count): clones(host, count) for count in CLONES}
        print(f"clones: {many}", flush=True)
        return {"ms": ms_of, "clones": many, "bytes": sizes}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--qemu", action="append", metavar="VERSION=BINARY", default=[])
    arguments.add_argument("--mib", type=int, nargs="+", default=[256, 1024, 4096])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--more", type=int, default=15, help="rounds of the ways that are quick")
    given = arguments.parse_args()
    at = OUT / "restore.json"
    kept: dict[str, Any] = json.loads(at.read_text(encoding="utf-8")) if at.exists() else {}
    for version, _, binary in (text.partition("=") for text in given.qemu):
        os.environ["SNAPPLAN_QEMU"] = binary
        for mib in given.mib:
            print(f"QEMU {version}, {mib} MiB", flush=True)
            head = {"machine": machine(), "rounds": given.rounds, "more": given.more}
            found = measure(mib, given.rounds, given.more)
            kept[f"{version}/{mib}"] = {**head, **found, "after": machine()}
            OUT.mkdir(exist_ok=True)
            at.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    save("restore", report(kept), kept, draw(kept))


if __name__ == "__main__":
    main()
