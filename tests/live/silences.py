"""How long each command leaves a terminal without a word: the work of script/silences.

No test asserts it: how long something takes is the machine's.  What is measured is the time between two
writes to the terminal, the first from the command's start.  Where Ctrl-C is pressed, what counts is the
time to its answer, and the answer is printed.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from attrs import define, field

from tests.live.restores import Adopted, template
from tests.support.qemu import QemuVm, end_process, qemu_binary, qemu_version
from tests.support.terminal import Terminal
from tests.support.writer import start_writer

__all__ = ["main"]

SNAPPLAN = Path(sys.executable).with_name("snapplan")
SPECS = Path(__file__).parents[2] / "specs"
LIMIT_S = 1.0
DIRTY_MIB_PER_S = 20
COPIED_MIB = 512
MANY_DISKS = 8
ANSWERS = ("stopping: ", "snapplan: stopped")
REST_INTERNAL = "disks: {}\nothers: internal\n"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@define
class Tour:
    """Runs commands, and tells of each how long it was silent.

    Attributes:
        only: What the names of the commands to run have in them.
        ctrl_c: Press Ctrl-C as soon as a command tells of a step or of bytes.
        longest_s: By command.
    """

    only: str
    ctrl_c: bool
    longest_s: dict[str, float] = field(factory=dict)

    def run(self, name: str, *words: object, prepares: bool = False) -> str:
        """Run one, and measure it unless it only prepares; what it has shown."""
        with Terminal(SNAPPLAN, *words, TERM="xterm", COLUMNS="120") as terminal:
            if not prepares and self.ctrl_c:
                self._interrupt(name, terminal)
            else:
                code = terminal.rest()
                if not prepares and self.only in name:
                    self._tell(name, terminal, code)
                elif code:
                    print(f"  {name}: exit {code}: {terminal.shown[-600:]!r}", flush=True)
            return terminal.shown

    def _tell(self, name: str, terminal: Terminal, code: int) -> None:
        times = [moment for moment, _ in terminal.moments]
        gaps = [(later - before, at) for at, (before, later) in enumerate(pairwise(times))]
        silent, at = max(gaps)
        self.longest_s[name] = silent
        figures = f"{times[-1] - times[0]:6.1f} s, silent for {silent:4.2f} s at most"
        print(f"{name:30} exit {code:3} {figures}", flush=True)
        if silent > LIMIT_S:
            around = [text[-60:] for _, text in terminal.moments[at : at + 2]]
            print(f"    between {around[0]!r} and {around[1]!r}", flush=True)

    def _interrupt(self, name: str, terminal: Terminal) -> None:
        try:
            terminal.until("step ")
        except AssertionError:  # it told of no step
            print(f"{name:30} ended before: {terminal.shown[-200:]!r}", flush=True)
            return
        shown, pressed = len(terminal.shown), time.monotonic()
        code = terminal.interrupt()
        answered = [at for at, text in terminal.moments if at > pressed and _answers(text)]
        self.longest_s[name] = (answered or [terminal.moments[-1][0]])[0] - pressed
        lines = re.split(r"[\r\n]+", ESCAPES.sub("", terminal.shown[shown:]))
        said = next((line for line in lines if _answers(line)), "")
        print(f"{name:30} exit {code:3} after {self.longest_s[name]:.2f} s: {said}", flush=True)

    def wants(self, name: str) -> bool:
        """Whether anything of this name is to run."""
        return self.only in name or name in self.only


def _answers(text: str) -> bool:
    return any(answer in text for answer in ANSWERS)


def states_of(folder: Path) -> dict[str, tuple[str, str]]:
    """By name, what a request says of the machine state, and of the disks."""
    captures = ["live", "stopped", *(["background"] if qemu_version() >= (10,) else [])]
    overlays = ", ".join(f"disk{n}: {{external: {folder}/o{n}.qcow2}}" for n in (0, 1))
    stream = f"{{external: {folder}/%s.stream, capture: %s, max-bandwidth: {2**32}}}"
    return {
        "internal": ("{internal: disk0}", REST_INTERNAL),
        "image": (f"{{image: {folder}/state.qcow2}}", REST_INTERNAL),
        **{name: (stream % (name, name), REST_INTERNAL) for name in captures},
        "copies": (
            "{internal: disk0}",
            f"disks: {{disk0: internal, disk1: {{copy: {folder}/copy.qcow2}}}}\n",
        ),
        "external": (stream % ("external", "stopped"), f"disks: {{{overlays}}}\n"),
    }


def saves(tour: Tour, mib: int) -> None:
    """Machine state in each kind of place, and what is done with it afterwards."""
    with machine(mib) as vm:
        request, store = vm.directory / "request.yaml", vm.directory / "store"
        where = ("--vm", vm.qmp_path, "--store", store)
        for name, (state, disks) in states_of(vm.directory).items():
            if not tour.wants(name):
                continue
            request.write_text(f"tag: {name}\nmachine-state: {state}\n{disks}")
            tour.run(f"apply {name}", "apply", request, *where, "--digest")
            if tour.ctrl_c:
                tour.run("apply", "apply", request, *where, prepares=True)
            else:
                tour.run(f"verify {name} --deep", "verify", name, *where, "--deep")
            if name == "internal":
                kept = ("--keep-current", "kept")
                tour.run("load internal --keep-current", "load", name, *where, *kept, "--yes")
                tour.run("load internal", "load", name, *where, "--yes")
            if name != "external":
                tour.run(f"delete {name}", "delete", name, *where, "--yes")
                if tour.ctrl_c:
                    tour.run("delete", "delete", name, *where, "--yes", prepares=True)
        if not tour.ctrl_c:
            _around(tour, vm, where)
        if tour.wants("measure"):
            request.write_text(f"tag: m\nmachine-state: {{internal: disk0}}\n{REST_INTERNAL}")
            chosen = ("--measure", "--designs", "monolithic,transactional")
            tour.run("compare --measure", "compare", request, *where, *chosen)
        if tour.wants("external"):
            manifest = next(store.rglob("*external*.json"))
            line = template(vm, manifest)
            vm.end()
            _without_vm(tour, manifest, line, vm.directory)


def _around(tour: Tour, vm: QemuVm, where: tuple[object, ...]) -> None:
    """What asks more than it does."""
    vm.execute("human-monitor-command", **{"command-line": "savevm by-hand"}, timeout_s=300)
    tour.run("adopt", "adopt", "by-hand", *where)
    tour.run("recover", "recover", *where)
    tour.run("doctor", "doctor", *where)
    tour.run("inspect", "inspect", *where[:2])
    tour.run("list", "list", *where)


def _without_vm(tour: Tour, manifest: Path, line: str, folder: Path) -> None:
    """A snapshot in new QEMUs, and as a template."""
    at = ("--store", folder / "store")
    if not tour.ctrl_c:
        tour.run("verify external --offline", "verify", manifest, "--offline", "--deep", *at)
    fresh = ("--run", line, "--qmp", folder / "tool", "--yes")
    with ended(folder):
        tour.run("load external --run", "load", manifest, *fresh, *at)
    tour.run("template external", "template", manifest, "--run", line, *at)
    if tour.ctrl_c:
        tour.run("template", "template", manifest, "--run", line, *at, prepares=True)
    clones = ("--clones", "2", "--qmp", f"{folder}/tool-{{clone}}", "--yes")
    with ended(folder):
        tour.run("load external --clones 2", "load", manifest, *clones, *at)
    if not tour.ctrl_c:
        tour.run("template external --drop", "template", manifest, "--drop", *at)


@contextmanager
def ended(folder: Path) -> Iterator[None]:
    """Afterwards the QEMUs that the store in a folder has records of, started meanwhile, have ended."""
    try:
        yield
    finally:
        for record in (folder / "store").rglob("*.json"):
            for pid in re.findall(r'"pid": (\d+)', record.read_text()):
                words = Path("/proc", pid, "cmdline")
                if words.exists() and str(folder) in words.read_text():
                    end_process(Adopted.of(int(pid)))


@contextmanager
def machine(mib: int) -> Iterator[QemuVm]:
    """A guest that has written to so much memory, with a second disk that holds something."""
    with start_writer(mib, mib_per_s=DIRTY_MIB_PER_S) as vm:
        vm.execute("block_resize", **{"node-name": "disk1", "size": 2 * COPIED_MIB * 2**20})
        device = "/machine/peripheral/disk1-device/virtio-backend"
        for at in range(0, COPIED_MIB, 64):
            line = f'qemu-io -d {device} "write -P 7 {at}M 64M"'
            vm.execute("human-monitor-command", **{"command-line": line})
        yield vm


def models(tour: Tour, _mib: int) -> None:
    """What needs no VM of ours: the explorer, predictions, experiments, the facts."""
    with tempfile.TemporaryDirectory(prefix="sp-") as folder:
        facts, request = Path(folder, "facts.json"), Path(folder, "request.yaml")
        plain = json.loads((SPECS / "examples/twenty-disks.facts.json").read_text())
        facts.write_text(json.dumps({**plain, "disks": plain["disks"][:MANY_DISKS]}))
        disks = "disks: {disk00: internal}\nothers: internal\n"
        request.write_text(f"tag: big\nmachine-state: {{internal: disk00}}\n{disks}")
        given = (request, "--facts", facts)
        two = ("--faults", "two")
        all_of_them = ("--other-clients", "--client-death", "recovered")
        experiment = SPECS / "experiments/designs-of-the-thread.yaml"
        runs = {
            "explore": ("explore", *given, "--design", "machine-snapshot-unordered", *two),
            "explore all": ("explore", *given, *two, *all_of_them),
            "explore --export": ("explore", *given, "--export", "promela"),
            "compare": ("compare", *given),
            "compare --simulate": ("compare", *given, "--simulate", "--repeat", "3"),
            "plan": ("plan", *given),
            "design page": ("design", "page", "machine-snapshot", *given, "-o", f"{folder}/page"),
            "conformance": ("conformance", "--qemu", qemu_binary()),
            "experiment run": ("experiment", "run", experiment, "-o", f"{folder}/results"),
            "experiment show": ("experiment", "show", f"{folder}/results"),
        }
        for name, words in runs.items():
            if tour.wants(name):
                tour.run(name, *words)


PARTS: dict[str, Callable[[Tour, int], None]] = {"models": models, "saves": saves}


def main() -> int:
    """Run the tour; exits 1 where a command was silent for more than a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--only", default="", help="only commands with this in their names")
    parser.add_argument("--mib", type=int, default=1024, help="memory that the guest has touched")
    parser.add_argument("--ctrl-c", action="store_true", help="press it, and measure the answer")
    wish = parser.parse_args()
    print(qemu_binary(), *qemu_version(), flush=True)
    tour = Tour(wish.only, wish.ctrl_c)
    for part in wish.parts:
        PARTS[part](tour, wish.mib)
    return 1 if any(silent > LIMIT_S for silent in tour.longest_s.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
