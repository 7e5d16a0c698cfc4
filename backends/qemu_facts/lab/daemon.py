"""The qemu-storage-daemon beside the QEMU: two qcow2 disks and a raw one, exported by NBD.

It ends by its pid when the context is left; its files go with it.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from backends.qemu_facts.lab import images
from backends.qemu_facts.lab.binaries import qemu_binary, qemu_img_if_there
from backends.qemu_facts.lab.experiment import new_folder
from backends.qemu_facts.lab.outcome import NotRun
from backends.qemu_facts.lab.qemu import connect_when_ready, end_process, tied
from backends.qemu_facts.lab.qmp import QmpClient

__all__ = ["DISKS", "Daemon", "storage_daemon"]

DISKS = {"disk0": "qcow2", "disk1": "qcow2", "data": "raw"}
"""By node name, the format."""
_BYTES = 8 * 2**20


class Daemon:
    """One that runs; `qmp` asks it, and `directory` has its images."""

    def __init__(self, directory: Path, qmp: QmpClient) -> None:
        self.directory = directory
        self.qmp = qmp

    def exported(self) -> dict[str, str]:
        """By export, the node on it."""
        return {e["id"]: e["node-name"] for e in self.qmp.execute("query-block-exports")}

    def snapshots(self) -> dict[str, dict[str, int]]:
        """By node, the vm-clock of each of its snapshots by tag, in nanoseconds."""
        nodes = self.qmp.execute("query-named-block-nodes", flat=True)
        return {
            node["node-name"]: {
                held["name"]: held["vm-clock-sec"] * 10**9 + held["vm-clock-nsec"]
                for held in node["image"].get("snapshots", ())
            }
            for node in nodes
        }

    def add_overlay(self, name: str) -> None:
        """Add a node over a new image."""
        path = self.directory / name
        images.create(qemu_img_if_there(), path, "qcow2", _BYTES)
        file = {"driver": "file", "filename": str(path)}
        tree = {"driver": "qcow2", "node-name": name, "file": file, "backing": None}
        self.qmp.execute("blockdev-add", tree)


def _binary() -> str:
    beside = qemu_binary().replace("qemu-system-x86_64", "qemu-storage-daemon")
    found = shutil.which(beside) or shutil.which("qemu-storage-daemon")
    if found is None:
        raise NotRun("needs qemu-storage-daemon")
    return found


def _arguments(directory: Path) -> Iterator[str]:
    yield from ("--chardev", f"socket,id=qmp,path={directory / 'qmp'},server=on,wait=off")
    yield from ("--monitor", "chardev=qmp")
    yield from ("--nbd-server", f"addr.type=unix,addr.path={directory / 'nbd'}")
    for disk, image_format in DISKS.items():
        path = directory / disk
        images.create(qemu_img_if_there(), path, image_format, _BYTES)
        yield from ("--blockdev", f"driver=file,node-name={disk}-file,filename={path}")
        yield from ("--blockdev", f"driver={image_format},node-name={disk},file={disk}-file")
        named = f"id={disk}-export,node-name={disk},name={disk}"
        yield from ("--export", f"type=nbd,{named},writable=on")


@contextlib.contextmanager
def storage_daemon() -> Iterator[Daemon]:
    """Make its images, and run it.

    Raises:
        NotRun: There is none.
    """
    with new_folder() as directory:
        words = [*tied(), _binary(), *_arguments(directory)]
        with (directory / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                words, cwd=directory, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr
            )
        try:
            with contextlib.closing(connect_when_ready(process, directory)) as qmp:
                yield Daemon(directory, qmp)
        finally:
            end_process(process)
