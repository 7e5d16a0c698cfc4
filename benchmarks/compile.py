"""How long a request takes to become a proved plan, beside networkx alone; and how much memory.

    .venv/bin/python -m benchmarks.compile

Measured is `compile_request`: request and facts, prepared outside, into a plan: resolve, graph,
lowering, proof, schema check, expectations; nothing is left out.  Beside it networkx alone builds
the graph of that very plan (`add_nodes_from`, `add_edges_from` with the rules' attribute) and sorts
it (`lexicographical_topological_sort`), once with the plan's own operations as nodes, and once,
stricter, with bare integers, whose hashing costs nothing.

All figures are CPU time of one process, the smallest of repeats that are interleaved with one
another: what disturbs a repeat only ever adds to it.  The garbage collector is on, as for any caller,
and `compile_request` holds it off itself; a second set, with it off for all, compares with networkx
on equal terms.  Memory is tracemalloc's peak over what there was before, in a process of its own for
each figure.

What a disk costs in time grows with the number of disks though the work does not: the function calls
are counted beside it, and networkx alone is measured at the same sizes.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx

from benchmarks.common import cpu_seconds, machine, pyplot, save, table, verdict
from planner.compile import plan as plan_module
from planner.compile.graph import build_graph
from planner.compile.plan import compile_request
from planner.model.facts import Disk, Facts, QemuVersion
from planner.model.request_text import ReadRequest, request_from_plain
from planner.model.text import Document
from planner.program.resolution import operations_of
from planner.program.schema import reachable

DESIGNS = ("monolithic", "transactional")
FEW, MANY = 10_000, 100_000
TIMES_NETWORKX, TIMES_FEW = 3, 11
MEMORY_GROWTH = 1.2
STAGES = {
    "resolve": "resolve",
    "choose_design": "choose the design",
    "build_graph": "build the graph",
    "lower": "lower (cover, order)",
    "verify": "verify",
    "check_commands": "check against the schema",
    "expectations": "expectations",
}
_SCHEMA = Path(__file__).parents[1] / "tests/data/schema-7.2.json"


def make_facts(count: int) -> Facts:
    """A VM of so many qcow2 disks, all usable."""
    disks = [
        Disk(
            name=f"disk{number}",
            node=f"disk{number}",
            root=f"disk{number}",
            driver="qcow2",
            qdev=f"/machine/peripheral/device{number}/virtio-backend",
            below=(f"disk{number}-file",),
            filename=f"/srv/vm/disk{number}.qcow2",
            virtual_size_bytes=2**30,
        )
        for number in range(count)
    ]
    return Facts(
        qemu=QemuVersion(7, 2, 22),
        machine="pc-i440fx-7.2",
        target="x86_64",
        run_state="running",
        disks=tuple(sorted(disks, key=lambda disk: disk.name)),
        schema=read_schema(),
    )


def read_schema() -> tuple[Mapping[str, object], ...]:
    """QEMU 7.2's schema as facts keep it."""
    raw = _SCHEMA.read_bytes()
    value = json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    return tuple(reachable(value["return"] if isinstance(value, dict) else value))


def make_request(count: int) -> ReadRequest:
    """All of them, named one by one, and the machine state in the first."""
    plain = {
        "tag": "benchmark",
        "machine-state": {"internal": "disk0"},
        "disks": {f"disk{number}": "internal" for number in range(count)},
    }
    return request_from_plain(Document(plain))


# --- networkx alone -----------------------------------------------------------------------------


def networkx_jobs(count: int) -> dict[str, Callable[[], object]]:
    """Build and sort the graph of the plan, with its operations or with integers as nodes."""
    plan = compile_request(make_request(count), make_facts(count), DESIGNS[0])
    graph = build_graph(operations_of(plan.program.resolution))
    nodes = list(graph)
    edges = [(before, after, dict(data)) for before, after, data in graph.edges(data=True)]
    keys = [node.sort_key for node in nodes]
    number = {node: at for at, node in enumerate(nodes)}
    numbered = [(number[before], number[after], data) for before, after, data in edges]
    return {
        "networkx": partial(build_and_sort, nodes, edges, lambda node: node.sort_key),
        "networkx, integers": partial(
            build_and_sort, list(range(len(nodes))), numbered, keys.__getitem__
        ),
    }


def build_and_sort(nodes: list[Any], edges: list[Any], key: Callable[[Any], Any]) -> list[Any]:
    """All that networkx has to do with such a graph."""
    graph: nx.DiGraph[Any] = nx.DiGraph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from(edges)
    return list(nx.lexicographical_topological_sort(graph, key=key))


# --- time ---------------------------------------------------------------------------------------


def measure_times(sizes: list[int], repeats: dict[int, int]) -> dict[int, dict[str, float]]:
    """The least CPU seconds of each job at each size."""
    best: dict[int, dict[str, float]] = {}
    for size in sizes:
        facts, read = make_facts(size), make_request(size)
        jobs = {design: partial(compile_request, read, facts, design) for design in DESIGNS}
        jobs |= networkx_jobs(size)
        found = best[size] = {}
        for at in range(repeats[size]):
            for name, job in jobs.items():
                keep_least(found, name, cpu_seconds(job))
                if at < max(2, repeats[size] // 3):
                    with without_collector():
                        keep_least(found, f"{name}, no gc", cpu_seconds(job))
    return best


def keep_least(found: dict[str, float], name: str, seconds: float) -> None:
    found[name] = min(seconds, found.get(name, seconds))


@contextmanager
def without_collector() -> Iterator[None]:
    """No garbage collection inside; nothing here makes cycles of note."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def measure_stages(size: int, repeats: int) -> dict[str, dict[str, float]]:
    """What each stage of the real `compile_request` takes, of the fastest repeat."""
    facts, read = make_facts(size), make_request(size)
    shares: dict[str, dict[str, float]] = {}
    for design in DESIGNS:
        runs = []
        for _ in range(repeats):
            with timed_stages() as spent:
                total = cpu_seconds(partial(compile_request, read, facts, design))
            spent["the design's instructions, and the plan"] = total - sum(spent.values())
            runs.append(dict(spent))
        shares[design] = min(runs, key=lambda spent: sum(spent.values()))
    return shares


@contextmanager
def timed_stages() -> Iterator[dict[str, float]]:
    """Clocks around the functions that `compile_request` calls."""
    spent: dict[str, float] = {}
    originals = {name: getattr(plan_module, name) for name in STAGES}

    def clocked(label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            begin = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent[label] = spent.get(label, 0.0) + time.process_time() - begin

        return call

    for name, label in STAGES.items():
        setattr(plan_module, name, clocked(label, originals[name]))
    try:
        yield spent
    finally:
        for name, function in originals.items():
            setattr(plan_module, name, function)


# --- calls --------------------------------------------------------------------------------------


def count_calls(size: int, design: str) -> int:
    """How many functions one compilation calls, those in C included."""
    facts, read = make_facts(size), make_request(size)
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        compile_request(read, facts, design)
    finally:
        sys.setprofile(None)
    return count


# --- memory -------------------------------------------------------------------------------------


def measure_memory(size: int, name: str) -> int:
    """Peak bytes of one job, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.compile", "--memory-of", str(size), name],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout)


def print_memory(size: int, name: str) -> None:
    """What that process does."""
    if name in DESIGNS:
        job: Callable[[], object] = partial(
            compile_request, make_request(size), make_facts(size), name
        )
    else:
        job = networkx_jobs(size)[name]
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    job()
    print(tracemalloc.get_traced_memory()[1] - before)


# --- the report ---------------------------------------------------------------------------------


def report(
    times: dict[int, dict[str, float]],
    stages: dict[str, dict[str, float]],
    memory: dict[str, dict[int, int]],
    calls: dict[str, dict[int, int]],
) -> str:
    parts = [machine()]
    targets = []
    for design in DESIGNS:
        ratio = times[FEW][design] / times[FEW]["networkx"]
        strict = times[FEW][design] / times[FEW]["networkx, integers"]
        equal = times[FEW][f"{design}, no gc"] / times[FEW]["networkx, no gc"]
        growth = times[MANY][design] / times[FEW][design]
        per_disk = (memory[design][MANY] / MANY) / (memory[design][FEW] / FEW)
        targets += [
            verdict(f"{design}: {FEW} disks / networkx", ratio, TIMES_NETWORKX),
            (f"{design}: {FEW} disks / networkx on integers", f"{strict:.2f}", "-", "(stricter)"),
            (
                f"{design}: {FEW} disks / networkx, no gc in either",
                f"{equal:.2f}",
                "-",
                "(stricter)",
            ),
            verdict(f"{design}: {MANY} / {FEW} disks", growth, TIMES_FEW),
            verdict(f"{design}: peak bytes a disk, {MANY} / {FEW}", per_disk, MEMORY_GROWTH),
        ]
        called = calls[design][MANY] / calls[design][FEW]
        targets.append(
            (f"{design}: {MANY} / {FEW} disks, calls", f"{called:.2f}", "-", "(for scale)")
        )
    for name in ("networkx", "networkx, no gc"):
        alone = times[MANY][name] / times[FEW][name]
        targets.append((f"{name}: {MANY} / {FEW} disks", f"{alone:.2f}", "-", "(for scale)"))
    parts.append(table(("ratio", "measured", "target", ""), targets))
    names = list(times[FEW])
    parts.append(
        table(
            ("CPU seconds, least of repeats", *(f"{size} disks" for size in times)),
            ((name, *(f"{times[size][name]:.4f}" for size in times)) for name in names),
        )
    )
    totals = {design: sum(spent.values()) for design, spent in stages.items()}
    labels = list(stages[DESIGNS[0]])
    parts.append(
        table(
            (f"share of a stage, {FEW} disks", *DESIGNS),
            (
                (label, *(f"{stages[d][label] / totals[d]:.1%}" for d in DESIGNS))
                for label in labels
            ),
        )
    )
    parts.append(
        table(
            ("peak bytes a disk", *(f"{size} disks" for size in (FEW, MANY))),
            (
                (name, *(f"{found[size] / size:.0f}" for size in (FEW, MANY)))
                for name, found in memory.items()
            ),
        )
    )
    return "\n\n".join(parts)


def draw(times: dict[int, dict[str, float]], stages: dict[str, dict[str, float]]) -> Any:
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    sizes = list(times)
    for name in (*DESIGNS, "networkx"):
        left.loglog(sizes, [times[s][name] / s * 1e6 for s in sizes], marker="o", label=name)
    left.set(xlabel="disks", ylabel="µs of CPU a disk", title="Linear is level")
    left.set_ylim(bottom=1)
    left.grid(visible=True, which="both", alpha=0.3)
    left.legend()
    bottoms = dict.fromkeys(DESIGNS, 0.0)
    for label in stages[DESIGNS[0]]:
        heights = [stages[design][label] for design in DESIGNS]
        right.bar(DESIGNS, heights, bottom=list(bottoms.values()), label=label, width=0.6)
        for design, height in zip(DESIGNS, heights, strict=True):
            bottoms[design] += height
    alone = times[FEW]["networkx"]
    right.axhline(alone, color="black", linestyle="--", label="networkx alone")
    right.axhline(TIMES_NETWORKX * alone, color="red", linestyle="--", label="target: 3 times that")
    right.set(ylabel="seconds of CPU", title=f"Stages, {FEW} disks")
    right.legend(fontsize="small")
    figure.suptitle("A request into a proved plan")
    return figure


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=15, help="of each size but the largest")
    arguments.add_argument("--repeats-many", type=int, default=8, help="of the largest size")
    arguments.add_argument("--memory-of", nargs=2, metavar=("SIZE", "JOB"), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.memory_of:
        print_memory(int(given.memory_of[0]), given.memory_of[1])
        return
    sizes = [1_000, FEW, MANY]
    repeats = dict.fromkeys(sizes, given.repeats) | {MANY: given.repeats_many}
    times = measure_times(sizes, repeats)
    stages = measure_stages(FEW, given.repeats)
    memory = {
        name: {size: measure_memory(size, name) for size in (FEW, MANY)}
        for name in (*DESIGNS, "networkx")
    }
    calls = {
        design: {size: count_calls(size, design) for size in (FEW, MANY)} for design in DESIGNS
    }
    figures = {"seconds": times, "stages": stages, "peak_bytes": memory, "calls": calls}
    save(
        "compile",
        report(times, stages, memory, calls),
        {"machine": machine(), **figures},
        draw(times, stages),
    )


if __name__ == "__main__":
    main()
