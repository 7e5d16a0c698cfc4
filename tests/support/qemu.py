"""The real QEMU: which binary, how it starts, and how it surely ends.

Which one: `SNAPPLAN_QEMU` (a path), else `qemu-system-x86_64` on PATH. Its qemu-img:
`SNAPPLAN_QEMU_IMG`, else the one beside it, else the one on PATH. The accelerator:
`SNAPPLAN_ACCEL`, else `tcg`. Not `kvm:tcg`, because a guest in real mode that talks to its BIOS is
nothing but exits: where KVM is itself virtual, SeaBIOS took 3.2 s to boot with it and 0.1 s without.

How it ends: by its pid, when the context is left, whatever happened; its files go with it. Should
the tests themselves be killed, the kernel kills it (PDEATHSIG). No core is dumped: some facts are
about QEMU aborting.
"""

import contextlib
import functools
import json
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attrs

from tests.support import guest, images
from tests.support.qmp import QmpClient, QmpClosed, QmpError
from tests.support.topology import DiskKind, DiskSpec, Topology
from tests.support.vm import Vm

__all__ = ["QemuTarget", "QemuVm", "qemu_binary", "qemu_img_binary", "qemu_version", "start_qemu"]

START_DEADLINE_S = 30.0
END_DEADLINE_S = 10.0


def qemu_binary() -> str:
    """The QEMU under test; that there is none is an error, never a reason to skip."""
    found = os.environ.get("SNAPPLAN_QEMU") or shutil.which("qemu-system-x86_64")
    if not found or not shutil.which(found):
        raise AssertionError(f"no QEMU: install qemu-system-x86 or set SNAPPLAN_QEMU ({found=})")
    return found


def qemu_img_binary() -> str:
    """The qemu-img that belongs to the QEMU under test."""
    binary = Path(qemu_binary())
    beside = binary.with_name(binary.name.replace("qemu-system-x86_64", "qemu-img"))
    candidates = (os.environ.get("SNAPPLAN_QEMU_IMG"), str(beside), "qemu-img")
    return next(path for path in candidates if path and shutil.which(path))


def qemu_version(binary: str | None = None) -> tuple[int, int]:
    """The (major, minor) that a QEMU says of itself in its greeting."""
    return _version_of(binary or qemu_binary())


@functools.cache
def _version_of(binary: str) -> tuple[int, int]:
    done = subprocess.run(
        [binary, "-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"],
        input='{"execute": "qmp_capabilities"}\n{"execute": "quit"}\n',
        capture_output=True,
        text=True,
        check=True,
        timeout=START_DEADLINE_S,
    )
    version = json.loads(done.stdout.splitlines()[0])["QMP"]["version"]["qemu"]
    return version["major"], version["minor"]


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
        images.create(qemu_img_binary(), path, image_format, self.topology.disks[0].size_bytes)
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
def start_qemu(topology: Topology) -> Iterator[QemuVm]:
    """Start a QEMU as the topology says; it and its files are gone when the context is left."""
    directory = Path(tempfile.mkdtemp(prefix="sp-"))  # short: a unix socket's path ends at 107
    try:
        create_images(directory, topology)
        with run_qemu(topology, directory) as vm:
            yield vm
    finally:
        shutil.rmtree(directory)


@contextlib.contextmanager
def run_qemu(
    topology: Topology, directory: Path, more_args: tuple[str, ...] = ()
) -> Iterator[QemuVm]:
    """Run QEMU on the images that lie in a directory: again, after another one has ended."""
    for left_over in ("qmp", "tool", "console"):
        (directory / left_over).unlink(missing_ok=True)
    arguments = [*command_line(directory, topology), *more_args]
    with (directory / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "prlimit", "--core=0", qemu_binary(), *arguments],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            umask=topology.umask,
            restore_signals=False,  # SIGXFSZ stays ignored: a file that may not grow is an error
        )
    try:
        qmp = connect_when_ready(process, directory)
        with contextlib.closing(qmp):
            yield QemuVm(topology, directory, qmp, directory / "tool", process)
    finally:
        end_process(process)


def connect_when_ready(process: subprocess.Popen, directory: Path) -> QmpClient:
    """Connect as soon as QEMU listens; if it ends instead, fail with what it said."""
    deadline = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            return QmpClient(directory / "qmp")
        except (FileNotFoundError, ConnectionRefusedError):
            if process.poll() is not None:
                said = (directory / "stderr").read_text()
                raise AssertionError(f"QEMU ended with {process.returncode}: {said}") from None
            if time.monotonic() > deadline:
                raise AssertionError("QEMU does not listen") from None
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


# --- the command line ---------------------------------------------------------------------------


def command_line(directory: Path, topology: Topology) -> list[str]:
    """QEMU's arguments for a topology whose images lie in the directory."""
    accelerator = topology.accelerator or os.environ.get("SNAPPLAN_ACCEL", "tcg")
    arguments = ["-machine", f"pc,accel={accelerator}", "-m", str(topology.memory_mib)]
    arguments += ["-nodefaults", "-no-user-config", "-display", "none"]
    for name in ("qmp", "tool"):
        arguments += ["-qmp", f"unix:{directory / name},server=on,wait=off"]
    arguments += ["-debugcon", f"file:{directory / 'console'}"]
    if any(disk.device.startswith("scsi") for disk in topology.disks):
        arguments += ["-device", "virtio-scsi-pci,id=scsi0"]
    for disk in topology.disks:
        arguments += disk_arguments(directory, topology, disk)
    if topology.paused:
        arguments.append("-S")
    return [*arguments, *topology.extra_args]


def disk_arguments(directory: Path, topology: Topology, disk: DiskSpec) -> list[str]:
    """The arguments for one disk: its nodes, and its device if it has one."""
    path = image_path(directory, disk)
    if disk.kind is DiskKind.DRIVE:
        nodes = ["-drive", f"if=none,id={disk.name},file={path},format=qcow2"]
    else:
        nodes = ["-blockdev", json.dumps(node_tree(disk, path))]
    if disk.kind is DiskKind.FILTERED:
        limits = {"bps-total": topology.throttle_bps}
        group = {"qom-type": "throttle-group", "id": f"{disk.name}-group", "limits": limits}
        nodes = ["-object", json.dumps(group), *nodes]
    if disk.device == "pflash":
        return [*nodes, "-machine", f"pflash{pflash(topology).index(disk)}={disk.name}"]
    if disk not in attached(topology):
        return nodes
    device = {"driver": disk.device, "drive": disk.name}
    device["bootindex"] = attached(topology).index(disk)
    if disk.stops:
        device |= {"werror": "stop", "rerror": "stop"}
    if disk.kind is not DiskKind.DRIVE:
        device["id"] = f"{disk.name}-device"
    return [*nodes, "-device", json.dumps(device)]


def attached(topology: Topology) -> list[DiskSpec]:
    """The disks that the guest has, in the BIOS's order."""
    return [
        disk
        for disk in topology.disks
        if disk.kind is not DiskKind.UNATTACHED and disk.device != "pflash"
    ]


def pflash(topology: Topology) -> list[DiskSpec]:
    """The firmware drives: the first is the code, the second its variables."""
    return [disk for disk in topology.disks if disk.device == "pflash"]


def node_tree(disk: DiskSpec, path: Path) -> dict:
    """The `-blockdev` tree of a disk; `topology` says which node has which name."""
    tree = {
        "driver": image_format(disk),
        "node-name": disk.format_node,
        "file": {"driver": "file", "node-name": f"{disk.name}-file", "filename": str(path)},
    }
    return _TREES.get(disk.kind, lambda _disk, _path, tree: tree)(disk, path, tree)


def _read_only(_disk: DiskSpec, _path: Path, tree: dict) -> dict:
    file = {**tree["file"], "read-only": True}
    return {**tree, "file": file, "read-only": True}


def _backed(disk: DiskSpec, path: Path, tree: dict) -> dict:
    file = {"driver": "file", "filename": str(backing_path(path)), "read-only": True}
    backing = {"driver": "qcow2", "node-name": f"{disk.name}-backing", "file": file}
    return {**tree, "backing": {**backing, "read-only": True}}


def _filtered(disk: DiskSpec, _path: Path, tree: dict) -> dict:
    group = f"{disk.name}-group"
    throttle = {"driver": "throttle", "node-name": disk.name, "throttle-group": group}
    return {**throttle, "file": tree}


def _faulty(disk: DiskSpec, _path: Path, tree: dict) -> dict:
    image = {**tree["file"], "node-name": f"{disk.name}-image"}
    rules = [dict(rule) for rule in disk.inject_error]
    blkdebug = {"driver": "blkdebug", "node-name": f"{disk.name}-file", "inject-error": rules}
    return {**tree, "file": {**blkdebug, "image": image}}


def _data_file(disk: DiskSpec, path: Path, tree: dict) -> dict:
    name, filename = f"{disk.name}-data", str(images.data_file_of(path))
    return {**tree, "data-file": {"driver": "file", "node-name": name, "filename": filename}}


_TREES: Mapping[DiskKind, Callable[[DiskSpec, Path, dict], dict]] = {
    DiskKind.READ_ONLY: _read_only,
    DiskKind.BACKED: _backed,
    DiskKind.FILTERED: _filtered,
    DiskKind.FAULTY: _faulty,
    DiskKind.DATA_FILE: _data_file,
}


# --- the images ---------------------------------------------------------------------------------


def image_format(disk: DiskSpec) -> str:
    """The format of a disk's image."""
    return "raw" if disk.kind is DiskKind.RAW else "qcow2"


def image_path(directory: Path, disk: DiskSpec) -> Path:
    """The file of a disk."""
    return directory / f"{disk.name}.{image_format(disk)}"


def backing_path(path: Path) -> Path:
    """The file under a BACKED disk."""
    return path.with_suffix(".base")


def create_images(directory: Path, topology: Topology) -> None:
    """Make the images of all disks; the first attached one boots the guest, if there is one."""
    for disk in topology.disks:
        boots = topology.guest and disk is attached(topology)[0]
        sector = guest.boot_sector(guest_drives(topology)) if boots else b""
        create_image(directory, disk, sector)


def create_image(directory: Path, disk: DiskSpec, sector: bytes) -> None:
    """Make the image of one disk, and what lies under it or beside it."""
    binary, path = qemu_img_binary(), image_path(directory, disk)
    if disk.kind is DiskKind.DATA_FILE:
        if sector:
            raise ValueError("the guest boots from no disk with a data file")
        images.create_with_data_file(binary, path, disk.size_bytes)
    elif disk.kind is DiskKind.BACKED:
        images.create(binary, backing_path(path), "qcow2", disk.size_bytes, sector)
        images.create_overlay(binary, path, backing_path(path), disk.size_bytes)
    elif disk.content:
        content = Path(disk.content).read_bytes()
        images.write_private(path, content.ljust(disk.size_bytes, b"\0"))
    else:
        images.create(binary, path, image_format(disk), disk.size_bytes, sector)


def guest_drives(topology: Topology) -> list[int]:
    """The BIOS numbers, from 0 on, of the disks that the guest checks."""
    names = topology.guest_disks
    return [
        number
        for number, disk in enumerate(attached(topology))
        if (disk.kind is not DiskKind.READ_ONLY if names is None else disk.name in names)
    ]


# --- the target ---------------------------------------------------------------------------------


@attrs.define
class QemuTarget:
    """Starts real QEMUs for one test and ends them all after it."""

    _running: contextlib.ExitStack = attrs.field(factory=contextlib.ExitStack, init=False)

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
