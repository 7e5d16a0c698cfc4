"""A real qemu-storage-daemon: two qcow2 disks and a raw one, exported by NBD, with a QMP socket.

It is ended by its pid when the context is left, and by the kernel should the tests be killed.
"""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import define

from tests.support.images import create, qemu_img
from tests.support.qemu import end_process, qemu_binary, qemu_img_binary
from tests.support.qmp import QmpClient

__all__ = [
    "DISKS",
    "VIRTIOFSD",
    "Daemon",
    "check_images",
    "daemon_binary",
    "run_daemon",
    "storage_daemon",
    "virtiofsd",
]

START_DEADLINE_S = 60.0
DISK_BYTES = 8 * 2**20
DISKS = {"disk0": "qcow2", "disk1": "qcow2", "data": "raw"}
"""By node name, the format."""
VIRTIOFSD = Path("/usr/lib/qemu/virtiofsd")
"""Debian's daemon of QEMU 7.2 for a shared folder."""


def daemon_binary() -> str:
    """The qemu-storage-daemon that belongs to the QEMU under test."""
    binary = Path(qemu_binary())
    beside = binary.with_name(binary.name.replace("qemu-system-x86_64", "qemu-storage-daemon"))
    return str(beside) if shutil.which(str(beside)) else "qemu-storage-daemon"


@define
class Daemon:
    """One that runs.

    Attributes:
        directory: Where its images and sockets are.
        process: It.
    """

    directory: Path
    process: subprocess.Popen

    @property
    def qmp_path(self) -> Path:
        """Its QMP socket for snapplan; the tests have one of their own."""
        return self.directory / "tool"

    @property
    def nbd_path(self) -> Path:
        """The socket that its exports are served on by NBD."""
        return self.directory / "nbd"

    def image(self, disk: str) -> Path:
        """A disk's image, as it was made."""
        return self.directory / f"{disk}.{DISKS[disk]}"

    def vhost_path(self, disk: str) -> Path:
        """The socket of a disk that is served by vhost-user-blk."""
        return self.directory / f"{disk}.vhost"

    def end(self) -> None:
        """End it in good order."""
        end_process(self.process)

    def kill(self) -> None:
        """Kill it, as a crash does."""
        self.process.kill()
        self.process.wait()

    def execute(self, command: str, **arguments: object) -> object:
        """Ask it over a connection of its own."""
        with contextlib.closing(QmpClient(self.directory / "qmp")) as qmp:
            return qmp.execute(command, **arguments)

    def tags(self) -> dict[str, list[str]]:
        """By node that is no file, the tags of its snapshots."""
        nodes = self.execute("query-named-block-nodes", flat=True)
        return {
            node["node-name"]: [s["name"] for s in node["image"].get("snapshots", [])]
            for node in nodes
            if node["drv"] in ("qcow2", "raw")
        }

    def exported(self) -> dict[str, str]:
        """By export, the node on it."""
        return {e["id"]: e["node-name"] for e in self.execute("query-block-exports")}

    def clocks(self, tag: str) -> dict[str, int]:
        """By node, the vm-clock of its snapshots of a tag, in nanoseconds."""
        nodes = self.execute("query-named-block-nodes", flat=True)
        return {
            node["node-name"]: held["vm-clock-sec"] * 10**9 + held["vm-clock-nsec"]
            for node in nodes
            for held in node["image"].get("snapshots", ())
            if held["name"] == tag
        }

    def overlay(self, disk: str, *, switch: bool = True) -> str:
        """Add an overlay's node, and switch a disk to it; its name."""
        path, node = self.directory / f"{disk}.over", f"{disk}-over"
        create(qemu_img_binary(), path, "qcow2", DISK_BYTES)
        file = {"driver": "file", "filename": str(path)}
        self.execute(
            "blockdev-add", **{"node-name": node, "driver": "qcow2", "file": file, "backing": None}
        )
        if switch:
            self.execute("blockdev-snapshot", node=disk, overlay=node)
        return node

    def commit(self, overlay: str, base: str) -> None:
        """Merge an overlay into its base, which takes its place."""
        with contextlib.closing(QmpClient(self.directory / "qmp")) as qmp:
            asked = {"job-id": "j", "device": overlay, "base-node": base, "auto-dismiss": True}
            qmp.execute("block-commit", **asked)
            qmp.wait_event("BLOCK_JOB_READY")
            qmp.execute("job-complete", id="j")
            qmp.wait_event("BLOCK_JOB_COMPLETED")

    def client(self, disk: str, *commands: str) -> str:
        """What an NBD client sees: qemu-io with these commands."""
        words = [word for command in commands for word in ("-c", command)]
        where = f"nbd+unix:///{disk}?socket={self.nbd_path}"
        done = subprocess.run(
            ["qemu-io", "-f", "raw", *words, where], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _arguments(directory: Path, vhost: tuple[str, ...]) -> Iterator[str]:
    for name in ("qmp", "tool"):
        yield from ("--chardev", f"socket,id={name},path={directory / name},server=on,wait=off")
        yield from ("--monitor", f"chardev={name}")
    yield from ("--nbd-server", f"addr.type=unix,addr.path={directory / 'nbd'},max-connections=0")
    for disk, image_format in DISKS.items():
        path = directory / f"{disk}.{image_format}"
        yield from ("--blockdev", f"driver=file,node-name={disk}-file,filename={path}")
        yield from ("--blockdev", f"driver={image_format},node-name={disk},file={disk}-file")
        if disk in vhost:
            address = f"addr.type=unix,addr.path={directory / disk}.vhost"
            export = f"type=vhost-user-blk,id={disk}-export,node-name={disk},writable=on,{address}"
        else:
            export = f"type=nbd,id={disk}-export,node-name={disk},name={disk},writable=on"
        yield from ("--export", export)


@contextlib.contextmanager
def storage_daemon(
    directory: Path, vhost: tuple[str, ...] = (), boot_sector: bytes = b""
) -> Iterator[Daemon]:
    """Make its images in a folder with a short path, and run it.

    Args:
        directory: The folder.
        vhost: Disks that are served by vhost-user-blk, not by NBD.
        boot_sector: What the first disk begins with.
    """
    for number, (disk, image_format) in enumerate(DISKS.items()):
        made = directory / f"{disk}.{image_format}"
        create(qemu_img_binary(), made, image_format, DISK_BYTES, b"" if number else boot_sector)
    with run_daemon(directory, vhost) as running:
        yield running


@contextlib.contextmanager
def run_daemon(directory: Path, vhost: tuple[str, ...] = ()) -> Iterator[Daemon]:
    """Run it on the images that lie in a folder: again, after another one has ended."""
    for name in ("qmp", "tool", "nbd", *(f"{disk}.vhost" for disk in vhost)):
        (directory / name).unlink(missing_ok=True)
    command = ["setpriv", "--pdeathsig", "KILL", daemon_binary(), *_arguments(directory, vhost)]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        names = ("qmp", "tool", "nbd")
        listening = [
            *(directory / name for name in names),
            *(directory / f"{disk}.vhost" for disk in vhost),
        ]
        while not all(each.exists() for each in listening):
            assert process.poll() is None, f"the daemon ended with {process.returncode}"
            assert time.monotonic() < deadline, "the daemon does not listen"
            time.sleep(0.005)
        yield Daemon(directory, process)
    finally:
        end_process(process)


def check_images(daemon: Daemon) -> None:
    """The images are sound; the daemon must have ended."""
    for disk, image_format in DISKS.items():
        if image_format == "qcow2":
            qemu_img(qemu_img_binary(), "check", "-q", "-f", image_format, daemon.image(disk))


@contextlib.contextmanager
def virtiofsd(where: Path) -> Iterator[Path]:
    """Run it on a new folder below this one; its socket."""
    shared, socket = where / "shared", where / "fs.sock"
    shared.mkdir()
    words = [VIRTIOFSD, f"--socket-path={socket}", "-o", f"source={shared},sandbox=chroot"]
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *words], stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        while not socket.exists():
            assert process.poll() is None, "virtiofsd ended"
            assert time.monotonic() < deadline, "virtiofsd does not listen"
            time.sleep(0.01)
        yield socket
    finally:
        end_process(process)
