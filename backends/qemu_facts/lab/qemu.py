"""The real QEMU: how it starts, and how it surely ends.

Which one: `binaries`. The accelerator: `SNAPPLAN_ACCEL`, else `tcg`. Not `kvm:tcg`, because a guest
in real mode that talks to its BIOS is nothing but exits: where KVM is itself virtual, SeaBIOS took
3.2 s to boot with it and 0.1 s without.

How it ends: by its pid, when the context is left, whatever happened; its files go with it. Should
the tests themselves be killed, the kernel kills it (PDEATHSIG). No core is dumped: some facts are
about QEMU aborting.
"""

import contextlib
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backends.qemu_facts.lab import guest, images
from backends.qemu_facts.lab.arguments import backing_path, command_line, create_images, image_path
from backends.qemu_facts.lab.binaries import (
    qemu_binary,
    qemu_img_binary,
    qemu_img_if_there,
    qemu_version,
)
from backends.qemu_facts.lab.outcome import NotRun
from backends.qemu_facts.lab.qmp import QmpClient, QmpClosed, QmpError
from backends.qemu_facts.lab.topology import Topology
from backends.qemu_facts.lab.vm import Vm

__all__ = [
    "DidNotStart",
    "QemuTarget",
    "QemuVm",
    "backing_path",
    "command_line",
    "create_images",
    "image_path",
    "qemu_binary",
    "qemu_img_binary",
    "qemu_version",
    "start_qemu",
]

START_DEADLINE_S = 30.0
END_DEADLINE_S = 10.0


class DidNotStart(NotRun, AssertionError):
    """The QEMU ended, or was silent, before it could be asked anything."""


class QemuVm(Vm):
    """A real QEMU: a Vm, and with it the process, the images and what the guest said."""

    def __init__(
        self,
        topology: Topology,
        directory: Path,
        qmp: QmpClient,
        qmp_path: Path,
        process: subprocess.Popen,
    ) -> None:
        super().__init__(topology, directory, qmp, qmp_path)
        self.process = process

    def create_image(self, name: str, image_format: str = "qcow2") -> Path:
        """Make an empty image beside the disks."""
        path = self.directory / name
        images.create(qemu_img_if_there(), path, image_format, self.topology.disks[0].size_bytes)
        return path

    def image(self, disk: str) -> Path:
        """The file of a disk."""
        return image_path(self.directory, self.topology.disk(disk))

    def console(self) -> str:
        """Everything that the guest said so far."""
        return (self.directory / "console").read_text(encoding="ascii", errors="replace")

    def stderr(self) -> str:
        """Everything that QEMU wrote to its standard error so far."""
        return (self.directory / "stderr").read_text(encoding="utf-8", errors="replace")

    def connect(self) -> QmpClient:
        """Another QMP connection, through the tool's socket; the caller closes it."""
        return QmpClient(self.qmp_path)

    def wait_guest(self, beats: int = 2, *, since: int = 0, timeout_s: float = 60.0) -> list[int]:
        """Wait until the guest has printed so many counters since an offset of its console.

        Returns the counters. Fails at once if the guest complains.
        """

        def said() -> bool:
            text = self.console()[since:]
            if guest.failures(text):
                raise AssertionError(f"the guest says: {guest.failures(text)}")
            return len(guest.heartbeats(text)) >= beats

        self.qmp.wait_until(said, f"{beats} heartbeats of the guest", timeout_s=timeout_s)
        return guest.heartbeats(self.console()[since:])

    def wait_guest_fails(self, *, since: int = 0, timeout_s: float = 60.0) -> str:
        """Wait until the guest complains, and return what it said first."""

        def complaints() -> list[str]:
            return guest.failures(self.console()[since:].rpartition("\n")[0])

        self.qmp.wait_until(complaints, "a complaint of the guest", timeout_s=timeout_s)
        return complaints()[0]

    def death_in(self, act: Callable[[], object]) -> int | None:
        """Do what ended QEMU; its return code, negative for a signal, or None: it lives."""
        try:
            act()
        except QmpClosed:
            return self.wait_death()
        return None

    def wait_death(self, timeout_s: float = 30.0) -> int:
        """Wait until QEMU ends by itself; its return code, negative for a signal."""
        return self.process.wait(timeout_s)

    def end(self) -> None:
        """End QEMU now, in good order, so that its images can be examined."""
        with contextlib.suppress(QmpError, QmpClosed):
            self.execute("quit")
        self.qmp.close()
        end_process(self.process)

    def check_image(self, disk: str) -> Mapping[str, int]:
        """`qemu-img check` on a disk's image, after `end`."""
        return images.check(qemu_img_binary(), self.image(disk))

    def allocated_bytes(self, disk: str) -> int:
        """How much of a disk's active layer and snapshots is in its image, after `end`."""
        return images.allocated_bytes(qemu_img_binary(), self.image(disk))

    def counter_in_image(self, disk: str, tag: str) -> int:
        """The counter that the guest last wrote to a disk, as its snapshot holds it, after `end`."""
        content = images.read_snapshot(qemu_img_binary(), self.image(disk), tag)
        return guest.last_counter(content)

    def revert_image(self, disk: str, tag: str) -> None:
        """Revert a disk to its snapshot, after `end`."""
        images.qemu_img(qemu_img_binary(), "snapshot", "-q", f"-a{tag}", self.image(disk))

    def image_tags(self, disk: str) -> list[str]:
        """The tags of the snapshots in a disk's image as qemu-img shows them, after `end`."""
        found = images.info(qemu_img_binary(), self.image(disk))
        return [snapshot["name"] for snapshot in found.get("snapshots", [])]


@contextlib.contextmanager
def start_qemu(topology: Topology, binary: str | None = None) -> Iterator[QemuVm]:
    """Start a QEMU as the topology says; it and its files are gone when the context is left.

    `binary` is its program; None: the one under test.
    """
    directory = Path(tempfile.mkdtemp(prefix="sp-"))  # short: a unix socket's path ends at 107
    try:
        create_images(directory, topology)
        with run_qemu(topology, directory, binary=binary) as vm:
            yield vm
    finally:
        shutil.rmtree(directory)


@contextlib.contextmanager
def run_qemu(
    topology: Topology,
    directory: Path,
    more_args: tuple[str, ...] = (),
    binary: str | None = None,
) -> Iterator[QemuVm]:
    """Run QEMU on the images that lie in a directory: again, after another one has ended."""
    for left_over in ("qmp", "tool", "console"):
        (directory / left_over).unlink(missing_ok=True)
    arguments = [*command_line(directory, topology), *more_args]
    with (directory / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [*tied(), _from_anywhere(binary or qemu_binary()), *arguments],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            umask=topology.umask,
            start_new_session=True,  # Ctrl-C is ours alone: who ends QEMU is who started it
            restore_signals=False,  # SIGXFSZ stays ignored: a file that may not grow is an error
        )
    try:
        qmp = connect_when_ready(process, directory)
        with contextlib.closing(qmp):
            yield QemuVm(topology, directory, qmp, directory / "tool", process)
    finally:
        end_process(process)


def _from_anywhere(program: str) -> str:
    """A program's path where it does not follow from the folder that it is started in."""
    return str(Path(program).absolute()) if "/" in program else program


def tied() -> list[str]:
    """The words before a command that end it with us, and have it leave no core; where they are."""
    words = []
    if shutil.which("setpriv"):
        words += ["setpriv", "--pdeathsig", "KILL"]
    if shutil.which("prlimit"):
        words += ["prlimit", "--core=0"]
    return words


def connect_when_ready(process: subprocess.Popen, directory: Path) -> QmpClient:
    """Connect as soon as QEMU listens; if it ends instead, fail with what it said."""
    deadline = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            return QmpClient(directory / "qmp")
        except (FileNotFoundError, ConnectionRefusedError):
            if process.poll() is not None:
                said = (directory / "stderr").read_text(errors="replace").strip()
                raise DidNotStart(f"QEMU ended with {process.returncode}: {said}") from None
            if time.monotonic() > deadline:
                raise DidNotStart(f"QEMU does not listen after {START_DEADLINE_S:.0f} s") from None
            time.sleep(0.005)


def end_process(process: subprocess.Popen) -> None:
    """End one process that we started: ask, wait, kill."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(END_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# --- the target ---------------------------------------------------------------------------------


@dataclass
class QemuTarget:
    """Starts real QEMUs for one test and ends them all after it."""

    _running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, init=False)

    @staticmethod
    def version() -> tuple[int, int]:
        """The version that `start` gives, known before anything is started."""
        return qemu_version()

    def start(self, topology: Topology) -> QemuVm:
        """Start one; it lives until the test ends."""
        return self._running.enter_context(start_qemu(topology))

    def run(self, vm: QemuVm, topology: Topology, *more_args: str) -> QemuVm:
        """Start another QEMU on the images of one that has ended."""
        return self._running.enter_context(run_qemu(topology, vm.directory, more_args))

    def close(self) -> None:
        """End them all."""
        self._running.close()


def file_mode(path: Path) -> int:
    """The permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)
