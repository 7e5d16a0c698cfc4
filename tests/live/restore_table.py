"""What can be saved and restored, on each QEMU: the work of script/restore-table.

Each combination is saved by `snapplan apply` under the guest that checks itself, QEMU is ended, and
`snapplan load --run` restores into a fresh one, where the guest has to go on from the saved instant
without a complaint.  Without machine state the disks are read: they have to be of one instant, and a
fresh QEMU has to come up on them.  Or it is refused, with the reason.
"""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from tests.live.restores import SaveFailed, request_of, restored, save_external, store
from tests.live.runs import SNAPPLAN, snapplan
from tests.support import guest, images
from tests.support.qemu import qemu_img_binary, start_qemu
from tests.support.topology import DiskKind, DiskSpec, Topology

__all__ = ["main"]

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "specs/restore-table.md"
QEMUS = (
    "/usr/bin/qemu-system-x86_64",
    "/opt/snapplan-qemu/bin/trixie-qemu-system-x86_64",
    "/opt/snapplan-qemu/bin/sid-qemu-system-x86_64",
)
PATIENCE_S = 300.0  # a busy machine is slow, and that is no finding
SEABIOS = "/usr/share/seabios/bios-256k.bin"
STATES = (
    *("internal", "image of its own"),
    *("external, stopped", "external, live", "external, background", "none"),
)
COPIED = "one internal, a qcow2 copied, a raw one copied as raw"
HEAD = """\
Made by `script/restore-table`; do not edit. Each combination was saved by `snapplan apply` under a guest
that writes memory and disks all the time and checks itself; QEMU was ended; `snapplan load --run`
restored it into a fresh QEMU, and the guest went on from the saved instant without a complaint. Without
machine state the disks were read: they were of one instant, and a fresh QEMU came up on them."""
LAYOUTS = ("all internal", "all external", "mixed, with raw firmware", COPIED)


@attrs.frozen
class Cell:
    """What became of one combination."""

    verdict: str
    why: str = ""


def topology_of(layout: str) -> Topology:
    """The VM of a layout: the guest writes to all disks but the firmware's."""
    if layout == COPIED:
        disks = (
            DiskSpec("disk0"),
            DiskSpec("disk1", DiskKind.DRIVE),
            DiskSpec("disk2", DiskKind.RAW),
        )
    elif layout == "all internal":
        disks = (DiskSpec("disk0"), DiskSpec("disk1", DiskKind.DRIVE), DiskSpec("disk2"))
    elif layout == "all external":
        raw, filtered = DiskSpec("disk1", DiskKind.RAW), DiskSpec("disk2", DiskKind.FILTERED)
        disks = (DiskSpec("disk0"), raw, filtered)
    else:
        firmware = (
            DiskSpec("code0", DiskKind.RAW, 2**18, "pflash", content=SEABIOS),
            DiskSpec("vars0", DiskKind.RAW, 2**18, "pflash"),
        )
        disks = (DiskSpec("disk0"), DiskSpec("disk1", DiskKind.DRIVE), *firmware)
    return Topology(disks=disks, guest=True)


def parts_of(layout: str, folder: Path) -> dict[str, str | dict[str, str]]:
    """What each disk's part is."""
    if layout == COPIED:
        raw = {"copy": str(folder / "disk2.copy"), "format": "raw"}
        return {"disk0": "internal", "disk1": {"copy": str(folder / "disk1.copy")}, "disk2": raw}
    if layout == "all internal":
        return dict.fromkeys(("disk0", "disk1", "disk2"), "internal")
    if layout == "all external":
        return {disk: str(folder / f"{disk}.a") for disk in ("disk0", "disk1", "disk2-format")}
    return {"disk0": "internal", "disk1": "internal", "vars0": str(folder / "vars0.a")}


def state_of(state: str, folder: Path) -> object:
    """A request's machine-state."""
    if state == "internal":
        return {"internal": "disk0"}
    if state == "image of its own":
        return {"image": str(folder / "state.qcow2")}
    if state == "none":
        return "none"
    return {"external": str(folder / "state"), "capture": state.removeprefix("external, ")}


def one(state: str, layout: str) -> Cell:
    """Save, end, restore, and judge one combination on the QEMU of the environment."""
    try:
        with start_qemu(topology_of(layout)) as vm:
            return saved_and_restored(vm, state, layout)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this combination's result
        return Cell("FAILED", f"{type(error).__name__}: {error}".replace("\n", " ")[:300])


def saved_and_restored(vm, state: str, layout: str) -> Cell:
    before = vm.wait_guest(2, timeout_s=PATIENCE_S)[-1]
    text = request_of(
        "a", parts_of(layout, vm.directory), state_of(state, vm.directory), others="exclude"
    )
    try:
        manifest = save_external(vm, text)
    except SaveFailed as failed:
        exit_code, error = failed.args
        if exit_code != 10:
            raise
        return Cell("refused", "; ".join(problem["message"] for problem in error["problems"]))
    vm.wait_guest(4, since=len(vm.console()), timeout_s=PATIENCE_S)
    later = guest.heartbeats(vm.console())[-1]
    vm.end()
    if state == "none":
        return judge_disks(vm, manifest, layout)
    with restored(vm, manifest, "--yes") as again:
        counters = again.wait_guest(4, timeout_s=PATIENCE_S)
        assert "start" not in again.console(), "the guest has booted"
        assert before < counters[0] < later, (before, counters[0], later)
        assert again.status() == "running"
    return Cell("restored")


def judge_disks(vm, manifest: Path, layout: str) -> Cell:
    """The guest writes its counter to disk after disk: no disk is ahead of the one before it."""
    done = snapplan("load", manifest, "--offline", "--yes", *store(vm))
    assert done.returncode == 0, done.stderr
    files = [str(vm.image(disk.name)) for disk in vm.topology.disks if disk.device != "pflash"]
    if layout in ("all external", COPIED):
        files = [disk["file"] for disk in json.loads(done.stdout)["disks"]]
    counters = [guest.last_counter(content(vm.directory, file)) for file in sorted(files)]
    assert counters[0] > 0
    assert counters[0] - counters[-1] in (0, 1), counters
    assert all(first >= second for first, second in itertools.pairwise(counters)), counters
    with restored(vm, manifest, "--yes") as again:
        again.wait_until(
            lambda: "start" in again.console(), "the guest to boot", timeout_s=PATIENCE_S
        )
    return Cell("restored")


def content(folder: Path, file: str) -> bytes:
    """What a disk holds."""
    raw = folder / "content"
    images.qemu_img(qemu_img_binary(), "convert", "-O", "raw", file, raw)
    return raw.read_bytes()


def version_of(binary: str) -> str:
    """A QEMU's version, in its own words."""
    done = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[3]


def table(cells: dict[tuple[str, str, str], Cell], versions: list[str]) -> Iterator[str]:
    """The lines of the document."""
    yield "# What can be saved and restored"
    yield ""
    yield HEAD
    reasons: dict[str, int] = {}
    for layout in LAYOUTS:
        yield from ("", f"## Disks: {layout}", "")
        yield f"| machine state | {' | '.join(versions)} |"
        yield f"| --- |{' --- |' * len(versions)}"
        for state in STATES:
            row = [cells.get((version, state, layout), Cell("not run")) for version in versions]
            yield f"| {state} | {' | '.join(worded(cell, reasons) for cell in row)} |"
    if reasons:
        yield from ("", "## Reasons", "")
        yield from (f"{number}. {why}" for why, number in reasons.items())


def worded(cell: Cell, reasons: dict[str, int]) -> str:
    """A cell's text; reasons are numbered."""
    if not cell.why:
        return cell.verdict
    return f"{cell.verdict} ({reasons.setdefault(cell.why, len(reasons) + 1)})"


def all_of(binary: str, minutes: float) -> int:
    """Run every combination on one QEMU, and print each as a line of JSON."""
    deadline = time.monotonic() + 60 * minutes
    os.environ["SNAPPLAN_QEMU"] = binary
    for pair in itertools.product(STATES, LAYOUTS):
        if time.monotonic() < deadline:
            cell = one(*pair)
            print(json.dumps([*pair, cell.verdict, cell.why]), flush=True)
    return 0


def main(minutes: float) -> int:
    """Run all, the QEMUs beside each other, and write the table; 1 where something failed."""
    assert SNAPPLAN.exists(), "run script/bootstrap first"
    cells: dict[tuple[str, str, str], Cell] = {}
    running = {
        version_of(binary): start(binary, minutes) for binary in filter(os.path.exists, QEMUS)
    }

    def gather(version: str) -> None:
        for line in running[version].stdout or ():
            state, layout, *cell = json.loads(line)
            cells[version, state, layout] = Cell(*cell)
            print(version, state, layout, *cell, sep=" | ", flush=True)
        running[version].wait()

    with ThreadPoolExecutor(len(running)) as pool:
        list(pool.map(gather, running))
    TABLE.write_text("\n".join(table(cells, list(running))) + "\n")
    return int(any(cell.verdict == "FAILED" for cell in cells.values()))


def start(binary: str, minutes: float) -> subprocess.Popen[str]:
    """Start the combinations of one QEMU, in a process of their own: its environment says which."""
    words = [sys.executable, "-m", "tests.live.restore_table", str(minutes), binary]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)


if __name__ == "__main__":
    wanted = float(sys.argv[1])
    sys.exit(all_of(sys.argv[2], wanted) if len(sys.argv) > 2 else main(wanted))
