"""The qemu-storage-daemon beside the QEMU: two qcow2 disks and a raw one, which it exports.

By NBD, or by vhost-user-blk where that is wished.  It ends by its pid when the context is left.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from backends.qemu_facts.lab import images
from backends.qemu_facts.lab.binaries import daemon_binary, qemu_img_if_there
from backends.qemu_facts.lab.qemu import connect_when_ready, end_process, tied
from backends.qemu_facts.lab.qmp import QmpClient

__all__ = ["DISKS", "Daemon", "run_daemon", "storage_daemon"]

DISKS = {"disk0": "qcow2", "disk1": "qcow2", "data": "raw"}
"""By node name, the format."""
DISK_BYTES = 8 * 2**20


class Daemon:
    """One that runs.

    Attributes:
        directory: Where its images and sockets are.
        process: It.
        qmp: Asks it; another client has the socket `qmp_path`.
    """

    def __init__(self, directory: Path, process: subprocess.Popen[bytes], qmp: QmpClient) -> None:
        self.directory = directory
        self.process = process
        self.qmp = qmp

    @property
    def qmp_path(self) -> Path:
        """Its QMP socket for the tool under test."""
        return self.directory / "tool"

    @property
    def nbd_path(self) -> Path:
        """The socket that its exports are served on by NBD."""
        return self.directory / "nbd"

    def vhost_path(self, disk: str) -> Path:
        """The socket of a disk that is served by vhost-user-blk."""
        return self.directory / f"{disk}.vhost"

    def image(self, disk: str) -> Path:
        """A disk's image, as it was made."""
        return image_of(self.directory, disk)

    def exported(self) -> dict[str, str]:
        """By export, the node on it."""
        return {e["id"]: e["node-name"] for e in self.qmp.execute("query-block-exports")}

    def snapshots(self) -> dict[str, dict[str, int]]:
        """By node that is no file, the vm-clock of each of its snapshots by tag, in nanoseconds."""
        nodes = self.qmp.execute("query-named-block-nodes", flat=True)
        return {
            node["node-name"]: {
                held["name"]: held["vm-clock-sec"] * 10**9 + held["vm-clock-nsec"]
                for held in node["image"].get("snapshots", ())
            }
            for node in nodes
            if node["drv"] in DISKS.values()
        }

    def add_overlay(self, name: str) -> None:
        """Add a node over a new image of that name."""
        path = self.directory / name
        images.create(qemu_img_if_there(), path, "qcow2", DISK_BYTES)
        file = {"driver": "file", "filename": str(path)}
        tree = {"driver": "qcow2", "node-name": name, "file": file, "backing": None}
        self.qmp.execute("blockdev-add", tree)

    def commit(self, overlay: str, base: str) -> None:
        """Merge an overlay into its base, which takes its place."""
        mark = self.qmp.mark()
        asked = {"job-id": "j", "device": overlay, "base-node": base, "auto-dismiss": True}
        self.qmp.execute("block-commit", asked)
        self.qmp.wait_event("BLOCK_JOB_READY", since=mark)
        self.qmp.execute("job-complete", id="j")
        self.qmp.wait_event("BLOCK_JOB_COMPLETED", since=mark)


def image_of(directory: Path, disk: str) -> Path:
    """Where a disk's image is."""
    return directory / f"{disk}.{DISKS[disk]}"


def _arguments(directory: Path, vhost: tuple[str, ...]) -> Iterator[str]:
    for name in ("qmp", "tool"):
        yield from ("--chardev", f"socket,id={name},path={directory / name},server=on,wait=off")
        yield from ("--monitor", f"chardev={name}")
    yield from ("--nbd-server", f"addr.type=unix,addr.path={directory / 'nbd'},max-connections=0")
    for disk, image_format in DISKS.items():
        path = image_of(directory, disk)
        yield from ("--blockdev", f"driver=file,node-name={disk}-file,filename={path}")
        yield from ("--blockdev", f"driver={image_format},node-name={disk},file={disk}-file")
        named = f"id={disk}-export,node-name={disk},writable=on"
        if disk in vhost:
            address = f"addr.type=unix,addr.path={directory / disk}.vhost"
            yield from ("--export", f"type=vhost-user-blk,{named},{address}")
        else:
            yield from ("--export", f"type=nbd,{named},name={disk}")


@contextlib.contextmanager
def storage_daemon(
    directory: Path,
    vhost: tuple[str, ...] = (),
    boot_sector: bytes = b"",
    kind: type[Daemon] = Daemon,
) -> Iterator[Daemon]:
    """Make its images in a folder with a short path, and run it.

    Args:
        directory: The folder.
        vhost: Disks that are served by vhost-user-blk, not by NBD.
        boot_sector: What the first disk begins with.
        kind: What it is to be.

    Raises:
        NotRun: There is none.
    """
    for number, (disk, image_format) in enumerate(DISKS.items()):
        sector = b"" if number else boot_sector
        path = image_of(directory, disk)
        images.create(qemu_img_if_there(), path, image_format, DISK_BYTES, sector)
    with run_daemon(directory, vhost, kind) as running:
        yield running


@contextlib.contextmanager
def run_daemon(
    directory: Path, vhost: tuple[str, ...] = (), kind: type[Daemon] = Daemon
) -> Iterator[Daemon]:
    """Run it on the images that lie in a folder: again, after another one has ended."""
    for name in ("qmp", "tool", "nbd", *(f"{disk}.vhost" for disk in vhost)):
        (directory / name).unlink(missing_ok=True)
    words = [*tied(), daemon_binary(), *_arguments(directory, vhost)]
    with (directory / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            words, cwd=directory, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr
        )
    try:
        with contextlib.closing(connect_when_ready(process, directory)) as qmp:
            yield kind(directory, process, qmp)
    finally:
        end_process(process)
