"""What the benchmarks share: figures of repeats, a table, a plot's file, and what the machine is."""

from __future__ import annotations

import gc
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["cpu_seconds", "machine", "pyplot", "save", "table", "verdict"]

OUT = Path(__file__).with_name("out")


def cpu_seconds(work: Callable[[], object]) -> float:
    """The CPU time of one call, from a collected heap; what it returns is gone afterwards."""
    gc.collect()
    begin = time.process_time()
    result = work()
    seconds = time.process_time() - begin
    del result
    return seconds


def pyplot() -> Any:
    """matplotlib, once all is measured: its modules would be in every garbage collection's way."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def machine() -> str:
    """When and where: a ratio of another machine is another ratio."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {model}, {os.cpu_count()} CPUs, load {load}, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; the first column is text, the others are figures."""
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]

    def line(row: Sequence[str]) -> str:
        first, *rest = (
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "| " + " | ".join([first, *rest]) + " |"

    rule = "|" + "|".join(
        "-" * (width + 2) if at == 0 else "-" * (width + 1) + ":" for at, width in enumerate(widths)
    )
    return "\n".join([line(cells[0]), rule + "|", *map(line, cells[1:])])


def verdict(name: str, value: float, at_most: float) -> tuple[str, str, str, str]:
    """A row of the targets' table."""
    return name, f"{value:.2f}", f"<= {at_most:g}", "holds" if value <= at_most else "MISSED"


def save(name: str, text: str, figures: dict[str, Any], plot: Any) -> None:
    """Print the result, and keep it, its figures and its plot in `benchmarks/out/`."""
    OUT.mkdir(exist_ok=True)
    print(text)
    (OUT / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    (OUT / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    plot.savefig(OUT / f"{name}.svg")
    print(f"\nkept: {OUT}/{name}.md, .json, .svg")
