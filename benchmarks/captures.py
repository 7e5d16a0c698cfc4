"""How long the later background captures of a VM pause it, with and without its memory joined again.

    .venv/bin/python -m benchmarks.captures --qemu 10.0=… --qemu 11.1=… --mib 1024 --captures 100

The guest of `benchmarks.pause`; one VM whose captures follow each other, and one whose memory is joined
into huge pages after each (`planner/host/huge_pages.py`, what `apply --huge-pages` does).  What counts
is the ratio to the first capture of the same VM.  Target: the last ones at most 2 times the first.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from statistics import median
from typing import Any

from benchmarks.common import OUT, machine, pyplot, save, table, verdict
from benchmarks.pause import MIB_PER_S, Series
from planner.host.huge_pages import join_huge_pages
from tests.support.writer import start_writer

LAST = 5
"""How many of the last captures are taken together."""
WAYS = {"as they come": False, "joined after each": True}


def measure(mib: int, captures: int, *, joined: bool) -> dict[str, Any]:
    """The pauses of one VM's captures, and what joining took and left."""
    took: list[float] = []
    with start_writer(mib, MIB_PER_S) as vm:
        series = Series(vm)
        for number in range(captures):
            series.run("background", f"run-{number}", "background")
            if not joined:
                continue
            begin = time.perf_counter()
            found = join_huge_pages(vm.process.pid)
            took.append((time.perf_counter() - begin) * 1000)
            if found.note:
                raise AssertionError(found.note)
    return {"ms": [pause for pause, _ in series.ms["background"]], "joining": took}


def ratio(one: dict[str, Any]) -> float:
    """The last captures, of the first."""
    return float(median(one["ms"][-LAST:]) / one["ms"][0])


def report(kept: dict[str, Any]) -> str:
    rows = []
    for key, one in kept.items():
        for way in WAYS:
            pauses = one[way]["ms"]
            joining = one[way]["joining"]
            rows.append(
                (
                    f"{key} MiB, {way}",
                    len(pauses),
                    *(f"{value:.0f}" for value in (pauses[0], median(pauses[-LAST:]), max(pauses))),
                    f"{ratio(one[way]):.2f}",
                    f"{median(joining):.0f}" if joining else "",
                )
            )
    head = ("VM", "captures", "first, ms", f"last {LAST}", "most", "of the first", "joining, ms")
    way = "joined after each"
    held = [verdict(f"{key} MiB, {way}", ratio(one[way]), 2) for key, one in kept.items()]
    machines = "\n".join(f"{key} MiB: {one['machine']}" for key, one in kept.items())
    return "\n\n".join(
        [machines, table(head, rows), table(("last of first", "measured", "target", ""), held)]
    )


def draw(kept: dict[str, Any]) -> Any:
    figure, axes = pyplot().subplots(
        1, len(kept), figsize=(4.6 * len(kept), 3.6), squeeze=False, layout="constrained"
    )
    for axis, (key, one) in zip(axes[0], kept.items(), strict=True):
        for way in WAYS:
            axis.plot(range(1, len(one[way]["ms"]) + 1), one[way]["ms"], marker="o", label=way)
        axis.set(title=f"QEMU {key} MiB", xlabel="capture", ylabel="pause, ms", yscale="log")
        axis.legend()
    return figure


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--qemu", action="append", metavar="VERSION=BINARY", default=[])
    arguments.add_argument("--mib", type=int, nargs="+", default=[1024])
    arguments.add_argument("--captures", type=int, default=100)
    given = arguments.parse_args()
    at = OUT / "captures.json"
    kept: dict[str, Any] = json.loads(at.read_text(encoding="utf-8")) if at.exists() else {}
    for version, _, binary in (text.partition("=") for text in given.qemu):
        os.environ["SNAPPLAN_QEMU"] = binary
        for mib in given.mib:
            one: dict[str, Any] = {"machine": machine()}
            for way, joined in WAYS.items():
                one[way] = measure(mib, given.captures, joined=joined)
            kept[f"{version}/{mib}"] = one
            OUT.mkdir(exist_ok=True)
            at.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    save("captures", report(kept), kept, draw(kept))


if __name__ == "__main__":
    main()
