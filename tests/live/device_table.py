"""What works for each kind of storage and device, in each design: the work of script/device-table.

The document is kept while it is made: what an earlier run has found stays, under the version of QEMU
that it was found on, until it is tried again.
"""

import argparse
import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.live.device_kinds import DESIGNS, KINDS, Result, TooBusy, through
from tests.live.restore_table import QEMUS, ROOT, version_of
from tests.support.linux_guest import guest_folder

__all__ = ["cells_of", "main", "said_of", "table"]

TABLE = ROOT / "specs/device-table.md"
HEAD = """\
# What works with which storage and devices

Made by `script/device-table`; do not edit. Each machine is a q35 that runs Debian's cloud kernel and a
program that writes and checks memory and all disks. It was saved by `snapplan apply`. Where all parts
are inside images (*internal*, and most drafts) it went back twice with `load`, and the snapshot was
deleted. Else QEMU was ended, `load --run` restored into a fresh one on new overlays, its disks were
promoted, what was set aside was dropped, and the snapshot was deleted with its overlays merged while the
guest ran, until only the images of before were left. *as drafted* is the request that
`inspect --request` drafts. `not run`: no run so far had the time for it; each run goes on with these."""

NOT_RUN = Result("not run")
Cell = tuple[str, str, str]
"""A version of QEMU, a machine, a design."""

_STARTED_UNTIL = 0.8
"""The share of its time in which a run still begins machines; the last ones need the rest."""
_REASON = re.compile(r"(.*) \((\d+)\)")


def one(kind: str, design: str) -> Result:
    """One machine in one design, on the QEMU of the environment."""
    with tempfile.TemporaryDirectory(prefix="snapplan-linux-") as folder:
        try:
            return through(kind, design, Path(folder))
        except TooBusy:
            return NOT_RUN
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this machine's result
            return Result("FAILED", f"{type(error).__name__}: {error}".replace("\n", " ")[-400:])


def cells_of(text: str) -> dict[Cell, Result]:
    """What a document says: of every machine that was run, what became of it."""
    reasons = dict(re.findall(r"^(\d+)\. (.*)$", text.partition("## Reasons")[2], re.MULTILINE))
    cells: dict[Cell, Result] = {}
    version = ""
    for line in text.splitlines():
        if line.startswith("## "):
            version = line.removeprefix("## QEMU ") if line.startswith("## QEMU ") else ""
        elif version and line.startswith("| "):
            kind, *found = [cell.strip() for cell in line.strip("|").split(" | ")]
            for design, cell in zip(DESIGNS, found, strict=True):
                said = _REASON.fullmatch(cell)
                result = Result(said[1], reasons[said[2]]) if said else Result(cell)
                if kind in KINDS and result != NOT_RUN:
                    cells[version, kind, design] = result
    return cells


def said_of(version: str, kind: str, design: str) -> str:
    """What the document says of a machine: its verdict."""
    return cells_of(TABLE.read_text()).get((version, kind, design), NOT_RUN).verdict


def table(cells: dict[Cell, Result]) -> Iterator[str]:
    """The lines of the document."""
    yield HEAD
    reasons: dict[str, int] = {}
    for version in sorted({cell[0] for cell in cells}, key=_number):
        yield from ("", f"## QEMU {version}", "", f"| machine | {' | '.join(DESIGNS)} |")
        yield f"| --- |{' --- |' * len(DESIGNS)}"
        for kind in KINDS:
            row = [cells.get((version, kind, each), NOT_RUN) for each in DESIGNS]
            yield f"| {kind} | {' | '.join(worded(each, reasons) for each in row)} |"
    if reasons:
        yield from ("", "## Reasons", "")
        yield from (f"{number}. {why}" for why, number in reasons.items())


def _number(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def worded(result: Result, reasons: dict[str, int]) -> str:
    """A cell's text; reasons are numbered."""
    if not result.why:
        return result.verdict
    return f"{result.verdict} ({reasons.setdefault(result.why, len(reasons) + 1)})"


def all_of(binary: str, wish: argparse.Namespace) -> None:
    """The machines that are wanted on one QEMU, each printed as a line of JSON."""
    deadline = time.monotonic() + 60 * wish.minutes * _STARTED_UNTIL
    os.environ["SNAPPLAN_QEMU"] = binary
    image_tool = binary.replace("qemu-system-x86_64", "qemu-img")
    os.environ["SNAPPLAN_QEMU_IMG"] = image_tool
    version, known = version_of(binary), cells_of(TABLE.read_text())
    for design, kind in itertools.product(DESIGNS, KINDS):
        there = known.get((version, kind, design), NOT_RUN)
        again = wish.only or there.verdict in {"not run", "FAILED"}
        if again and wish.only in f"{kind}, {design}" and time.monotonic() < deadline:
            result = one(kind, design)
            if result == NOT_RUN:
                continue
            print(json.dumps([kind, design, result.verdict, result.why]), flush=True)


def main(wish: argparse.Namespace) -> int:
    """Run on all QEMUs beside each other, and write what is found as it comes; 1 where one failed."""
    guest_folder()  # once, before three processes want it
    binaries = [each for each in QEMUS if Path(each).exists() and wish.qemu in version_of(each)]
    running = {version_of(binary): start(binary, wish) for binary in binaries}
    cells, made = cells_of(TABLE.read_text()), threading.Lock()
    failed = []

    def gather(version: str) -> None:
        for line in running[version].stdout or ():
            kind, design, *result = json.loads(line)
            with made:
                cells[version, kind, design] = Result(*result)
                failed.extend(result[:1] if result[0] == "FAILED" else ())
                TABLE.write_text("\n".join(table(cells)) + "\n")
            print(version, kind, design, *result, sep=" | ", flush=True)

    gathering = [threading.Thread(target=gather, args=(version,)) for version in running]
    for each in gathering:
        each.start()
    deadline = time.monotonic() + 60 * wish.minutes
    for process in running.values():
        try:
            process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # it ends its QEMU; that machine was not run
    for each in gathering:
        each.join()
    return int(bool(failed))


def start(binary: str, wish: argparse.Namespace) -> subprocess.Popen[str]:
    """The machines of one QEMU, in a process of their own: its environment says which."""
    words = [
        sys.executable,
        "-m",
        "tests.live.device_table",
        str(wish.minutes),
        f"--only={wish.only}",
    ]
    return subprocess.Popen([*words, f"--on={binary}"], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def wished() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="script/device-table")
    parser.add_argument("minutes", nargs="?", type=float, default=60)
    parser.add_argument("--only", default="", help="a part of `MACHINE, DESIGN`: again, too")
    parser.add_argument("--qemu", default="", help="a part of the version: on no other QEMU")
    parser.add_argument("--on", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    wanted = wished()
    if not wanted.on:
        sys.exit(main(wanted))
    with contextlib.suppress(KeyboardInterrupt):  # its time is over
        all_of(wanted.on, wanted)
