"""Disk images: made fast, without qemu-img where that is possible, and examined once the VM is gone.

An image can hold the guest's memory, so every file is made 0600.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from backends.qemu_facts.lab.outcome import NotRun
from backends.qemu_facts.lab.qcow2 import CLUSTER_BYTES, qcow2_image

__all__ = [
    "allocated_bytes",
    "check",
    "create",
    "data_file_of",
    "info",
    "qemu_img",
    "write_private",
]


def qemu_img(binary: str, *arguments: str | Path, may_fail: bool = False) -> str:
    """Run qemu-img and return what it printed; errors show what it said."""
    done = subprocess.run(
        [binary, *map(str, arguments)], capture_output=True, text=True, check=False, umask=0o077
    )
    if done.returncode and not may_fail:
        raise AssertionError(f"qemu-img {arguments} exits {done.returncode}: {done.stderr}")
    return done.stdout


def write_private(path: Path, content: bytes) -> None:
    """Write a new file that only we can read, from its first byte on."""
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(content)


def create(
    binary: str | None, path: Path, image_format: str, size_bytes: int, boot_sector: bytes = b""
) -> None:
    """Make an image that is empty but for its boot sector, if it has one.

    Raises:
        NotRun: The format is neither raw nor qcow2, and there is no qemu-img.
    """
    if image_format == "qcow2":
        write_private(path, qcow2_image(size_bytes, boot_sector))
        return
    if image_format == "raw":
        write_private(path, boot_sector)
        os.truncate(path, size_bytes)
        return
    if binary is None:
        raise NotRun(f"needs qemu-img, for the format {image_format}")
    with tempfile.TemporaryDirectory(prefix="sp-") as directory:
        raw = Path(directory, "raw")
        create(binary, raw, "raw", size_bytes, boot_sector)
        path.touch(mode=0o600, exist_ok=False)
        qemu_img(binary, "convert", "-f", "raw", "-O", image_format, raw, path)


def data_file_of(path: Path) -> Path:
    """Where the external data file of an image lies."""
    return path.with_suffix(".data")


def create_with_data_file(path: Path, size_bytes: int) -> None:
    """Make a qcow2 whose data lies in an external raw file beside it."""
    data_file = data_file_of(path)
    write_private(path, qcow2_image(size_bytes, data_file=str(data_file)))
    create(None, data_file, "raw", size_bytes)


def create_overlay(
    binary: str, path: Path, backing: Path | None = None, size_bytes: int = 8 * 2**20
) -> None:
    """Make a qcow2 over a backing qcow2, or a bare one to be attached as an overlay later."""
    over = [] if backing is None else ["-b", str(backing), "-F", "qcow2"]
    qemu_img(binary, "create", "-q", "-f", "qcow2", *over, path, str(size_bytes))


def check(binary: str, path: Path) -> Mapping[str, int]:
    """What `qemu-img check` counts: corruptions and leaks, both 0 when absent."""
    found = json.loads(qemu_img(binary, "check", "--output=json", path, may_fail=True))
    return {
        "corruptions": found.get("corruptions", 0) + found.get("check-errors", 0),
        "leaks": found.get("leaks", 0),
    }


def allocated_bytes(binary: str, path: Path) -> int:
    """How many bytes of clusters the image refers to, leaving freed and leaked ones out."""
    found = json.loads(qemu_img(binary, "check", "--output=json", path, may_fail=True))
    return found.get("allocated-clusters", 0) * CLUSTER_BYTES


def read_snapshot(binary: str, path: Path, tag: str) -> bytes:
    """What a disk held when an internal snapshot of it was taken."""
    with tempfile.TemporaryDirectory(prefix="sp-") as directory:
        raw = Path(directory, "raw")
        qemu_img(binary, "convert", "-l", f"snapshot.name={tag}", "-O", "raw", path, raw)
        return raw.read_bytes()


def info(binary: str, path: Path) -> Mapping:
    """What `qemu-img info` says of an image that nobody uses."""
    return json.loads(qemu_img(binary, "info", "--output=json", path))
