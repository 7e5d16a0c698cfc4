"""What works for each kind of storage and device, in each design: the work of script/device-table."""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.live.device_kinds import DESIGNS, KINDS, Result, through
from tests.live.restore_table import QEMUS, ROOT, version_of
from tests.support.linux_guest import guest_folder

__all__ = ["main"]

TABLE = ROOT / "specs/device-table.md"
HEAD = """\
# What works with which storage and devices

Made by `script/device-table`; do not edit. Each machine is a q35 that runs Debian's cloud kernel and a
program that writes and checks memory and all disks. It was saved by `snapplan apply`. Where all parts
are inside images (*internal*, and most drafts) it went back twice with `load`, and the snapshot was
deleted. Else QEMU was ended, `load --run` restored into a fresh one on new overlays, its disks were
promoted, what was set aside was dropped, and the snapshot was deleted with its overlays merged while the
guest ran, until only the images of before were left. *as drafted* is the request that
`inspect --request` drafts; `not run`: the time did not suffice."""


def one(kind: str, design: str) -> Result:
    """One machine in one design, on the QEMU of the environment."""
    with tempfile.TemporaryDirectory(prefix="snapplan-linux-") as folder:
        try:
            return through(kind, design, Path(folder))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this machine's result
            return Result("FAILED", f"{type(error).__name__}: {error}".replace("\n", " ")[-400:])


def said_of(version: str, kind: str, design: str) -> str:
    """What the document says of a machine: its verdict, without the number of a reason."""
    lines = (
        TABLE.read_text().partition(f"## QEMU {version}\n")[2].partition("\n## ")[0].splitlines()
    )
    row = next((line for line in lines if line.startswith(f"| {kind} |")), "")
    cells = [cell.strip().partition(" (")[0] for cell in row.split("|")[2:-1]]
    return cells[DESIGNS.index(design)] if cells else "not run"


def table(cells: dict[tuple[str, str, str], Result], versions: list[str]) -> Iterator[str]:
    """The lines of the document."""
    yield HEAD
    reasons: dict[str, int] = {}
    for version in versions:
        yield from ("", f"## QEMU {version}", "", f"| machine | {' | '.join(DESIGNS)} |")
        yield f"| --- |{' --- |' * len(DESIGNS)}"
        for kind in KINDS:
            row = [cells.get((version, kind, each), Result("not run")) for each in DESIGNS]
            yield f"| {kind} | {' | '.join(worded(each, reasons) for each in row)} |"
    if reasons:
        yield from ("", "## Reasons", "")
        yield from (f"{number}. {why}" for why, number in reasons.items())


def worded(result: Result, reasons: dict[str, int]) -> str:
    """A cell's text; reasons are numbered."""
    if not result.why:
        return result.verdict
    return f"{result.verdict} ({reasons.setdefault(result.why, len(reasons) + 1)})"


def all_of(binary: str, minutes: float) -> int:
    """Every machine on one QEMU, each printed as a line of JSON."""
    deadline = time.monotonic() + 60 * minutes
    os.environ["SNAPPLAN_QEMU"] = binary
    image_tool = binary.replace("qemu-system-x86_64", "qemu-img")
    os.environ["SNAPPLAN_QEMU_IMG"] = image_tool
    for design, kind in itertools.product(DESIGNS, KINDS):
        if time.monotonic() < deadline:
            result = one(kind, design)
            print(json.dumps([kind, design, result.verdict, result.why]), flush=True)
    return 0


def main(minutes: float) -> int:
    """Run all, the QEMUs beside each other, and write the table; 1 where something failed."""
    guest_folder()  # once, before three processes want it
    binaries = [binary for binary in QEMUS if Path(binary).exists()]
    running = {version_of(binary): start(binary, minutes) for binary in binaries}
    cells: dict[tuple[str, str, str], Result] = {}
    for version, process in running.items():
        for line in process.communicate()[0].splitlines():
            kind, design, *result = json.loads(line)
            cells[version, kind, design] = Result(*result)
            print(version, kind, design, *result, sep=" | ", flush=True)
    TABLE.write_text("\n".join(table(cells, list(running))) + "\n")
    return int(any(result.verdict == "FAILED" for result in cells.values()))


def start(binary: str, minutes: float) -> subprocess.Popen[str]:
    """The machines of one QEMU, in a process of their own: its environment says which."""
    words = [sys.executable, "-m", "tests.live.device_table", str(minutes), binary]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)


if __name__ == "__main__":
    wanted = float(sys.argv[1])
    sys.exit(all_of(sys.argv[2], wanted) if len(sys.argv) > 2 else main(wanted))
