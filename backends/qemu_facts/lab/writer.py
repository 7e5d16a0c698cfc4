"""The guest that keeps rewriting its memory: making it, and reading what it said.

It is `writer.asm`; its head tells what it writes and what it prints.
"""

import contextlib
import functools
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from backends.qemu_facts.lab import images
from backends.qemu_facts.lab.assembled import assembled
from backends.qemu_facts.lab.qemu import QemuVm, image_path, qemu_img_binary, run_qemu
from backends.qemu_facts.lab.topology import DiskSpec, Topology

__all__ = ["boot_sectors", "start_writer", "wait_written", "written_mib"]

DISKS = ("disk0", "disk1")
DISK_BYTES = 8 * 2**20
MORE_MEMORY_MIB = 64
"""What a VM needs beside the memory that is written."""
_PARAMETERS_OFFSET = 1016
_TICKS_PER_S = 100
_PAGES_PER_MIB = 256
_HEARTBEAT_MIB = 16
_HEARTBEAT_PAGES = _HEARTBEAT_MIB * _PAGES_PER_MIB


@functools.cache
def _assembled(heartbeat_pages: int) -> bytes:
    if heartbeat_pages == _HEARTBEAT_PAGES:
        return assembled("writer")
    source = Path(__file__).with_name("writer.asm")
    with tempfile.TemporaryDirectory(prefix="sp-") as directory:
        made = Path(directory, "writer")
        mask = f"-DHEARTBEAT_MASK={heartbeat_pages - 1}"
        subprocess.run(["nasm", "-f", "bin", mask, "-o", str(made), str(source)], check=True)
        return made.read_bytes()


def boot_sectors(
    memory_mib: int, mib_per_s: int, *, heartbeat_pages: int = _HEARTBEAT_PAGES
) -> bytes:
    """The first sectors of a disk whose guest rewrites so much memory at that rate.

    It prints what it has written so far each so many pages, a power of two.
    """
    if not 1 <= memory_mib <= 4096:
        raise ValueError(f"the guest writes 1 to 4096 MiB, not {memory_mib}")
    sectors = bytearray(_assembled(heartbeat_pages))
    allowed = mib_per_s * _PAGES_PER_MIB // _TICKS_PER_S
    struct.pack_into("<II", sectors, _PARAMETERS_OFFSET, memory_mib * _PAGES_PER_MIB, allowed)
    return bytes(sectors)


def written_mib(console: str) -> int:
    """How much the guest has written so far, the first filling included."""
    found = re.findall(r"^([0-9a-f]{8})$", console, re.MULTILINE)
    return int(found[-1], 16) * _HEARTBEAT_MIB if found else 0


@contextlib.contextmanager
def start_writer(memory_mib: int, mib_per_s: int, accelerator: str = "tcg") -> Iterator[QemuVm]:
    """A VM of two qcow2 disks whose guest has filled its memory and goes on rewriting it."""
    topology = Topology(
        disks=tuple(DiskSpec(name, size_bytes=DISK_BYTES) for name in DISKS),
        memory_mib=memory_mib + MORE_MEMORY_MIB,
        accelerator=accelerator,
    )
    directory = Path(tempfile.mkdtemp(prefix="sp-"))
    try:
        boots = (boot_sectors(memory_mib, mib_per_s), b"")
        for disk, sectors in zip(topology.disks, boots, strict=True):
            path = image_path(directory, disk)
            images.create(qemu_img_binary(), path, "qcow2", DISK_BYTES, sectors)
        with run_qemu(topology, directory) as vm:
            wait_written(vm, memory_mib + mib_per_s)
            yield vm
    finally:
        shutil.rmtree(directory)


def wait_written(vm: QemuVm, mib: int, *, since: int = 0, timeout_s: float = 600.0) -> None:
    """Wait until the guest has counted that much; its console counts from an offset on.

    Fails at once if the guest found memory that is not what it wrote.
    """

    def said() -> bool:
        console = vm.console()[since:]
        if "FAIL" in console:
            raise AssertionError("the guest's memory is not what it wrote")
        return written_mib(console) >= mib

    vm.qmp.wait_until(said, f"{mib} MiB written by the guest", timeout_s=timeout_s)
