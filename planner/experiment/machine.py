"""A VM for one case: its images, its guest, its QEMU; all of it is gone when the case ends.

The first disk is of virtio-blk, and the guest boots from it; all others hang on one virtio-scsi
controller, since a machine has PCI slots for some thirty devices, and hundreds of disks are wanted.  The
guest fills its memory, and then rewrites so much of it a second (`backends/qemu_facts/lab/writer.asm`).
It says so when memory is not what it wrote: a guest that was harmed is no result.

Rules: QEMU is in a session of its own, so that Ctrl-C is ours alone, and the kernel ends it with us.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from attrs import field, frozen

from backends.launch import TiedQemu, launch_tied
from backends.qemu import QemuBackend
from backends.qemu_facts.lab.images import write_private
from backends.qemu_facts.lab.qcow2 import qcow2_image
from backends.qemu_facts.lab.writer import (
    DISK_BYTES,
    MORE_MEMORY_MIB,
    boot_sectors,
    written_mib,
)
from planner.errors import Problem, RunFailed
from planner.experiment.requested import disk_names

__all__ = ["Machine", "Shape", "running_machine"]

_START_S = 60.0
_LOOK_EACH_S = 0.02
_ON_CONTROLLER = 250
_FAILED = "FAIL"
_BEATS = 3
"""Lines of which the first may have been begun before, and the last one may not be whole."""

_Result = TypeVar("_Result")


@frozen
class Shape:
    """What VM is wanted.

    Attributes:
        binary: QEMU's program.
        accelerator: QEMU's accelerator.
        disks: How many disks it has.
        memory_mib: Its memory, in MiB.
        dirty_mib_per_s: How much memory the guest rewrites in a second; 0: it is idle.
    """

    binary: str
    accelerator: str
    disks: int
    memory_mib: int
    dirty_mib_per_s: int

    @property
    def written_mib(self) -> int:
        """How much memory the guest fills."""
        return self.memory_mib - MORE_MEMORY_MIB


@frozen
class Machine:
    """A VM that runs.

    Attributes:
        backend: Connected to it.
        folder: Where its images are.
        process: Its QEMU.
        helpers: Processes of ours that work with it; they end with it.
    """

    backend: QemuBackend
    folder: Path
    process: TiedQemu
    helpers: list[asyncio.subprocess.Process] = field(factory=list)

    @property
    def socket(self) -> str:
        """Where it is."""
        return _socket(self.folder)

    def end(self) -> None:
        """End it and its helpers at once."""
        for helper in self.helpers:
            if helper.returncode is None:
                helper.kill()
        self.process.end()

    async def quit(self) -> None:
        """Have QEMU end in good order, so that its images can be examined.

        Raises:
            ConnectionLost, NoReply: It did not answer.
        """
        await self.backend.execute("quit", {}, _START_S)
        await self.backend.close()
        await asyncio.to_thread(self.process.wait, _START_S)

    async def until_stopped(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Await work with it; a wish to stop ends it, since nothing of this VM needs to be undone."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self.end()
            await asyncio.gather(task, return_exceptions=True)
            raise

    async def guest_goes_on(self) -> bool:
        """Wait until its guest has rewritten more memory; whether it found there what it wrote.

        Raises:
            RunFailed: It does not go on (``guest-not-started``).
        """
        offset = len(_console(self.folder))

        def said_more(said: str) -> bool:
            return _FAILED in said or said[offset:].count("\n") >= _BEATS

        await _awaited(self, said_more)
        return _FAILED not in _console(self.folder)

    def check_guest(self) -> None:
        """See that the guest's memory is what it wrote.

        Raises:
            RunFailed: It is not (``guest-harmed``).
        """
        if _FAILED in _console(self.folder):
            problem = Problem("guest-harmed", "guest", "its memory is not what it wrote")
            raise RunFailed.of(problem)


@asynccontextmanager
async def running_machine(shape: Shape) -> AsyncIterator[Machine]:
    """Make a VM, wait until its guest has filled its memory, and take it all away at the end.

    Raises:
        RunFailed: QEMU (``qemu-not-started``) or its guest (``guest-not-started``) did not start.
        OSError: There is no room for its images.
    """
    with tempfile.TemporaryDirectory(prefix="sp-") as name:  # short: a socket's path is
        folder = Path(name)
        _make_images(folder, shape)
        socket = _socket(folder)
        process = await launch_tied(_words(folder, shape), socket)
        try:
            backend = await process.connect(socket, _START_S)
            machine = Machine(backend, folder, process)
            try:
                await _awaited(machine, lambda said: written_mib(said) >= shape.written_mib)
                yield machine
            finally:
                machine.end()  # first: what still waits for an answer learns that there is none
                await backend.close()
        finally:
            process.end()


def _make_images(folder: Path, shape: Shape) -> None:
    boots = boot_sectors(shape.written_mib, shape.dirty_mib_per_s)
    for name in disk_names(shape.disks):
        content = boots if name == "disk0" else b""
        write_private(folder / f"{name}.qcow2", qcow2_image(DISK_BYTES, content))


def _words(folder: Path, shape: Shape) -> list[str]:
    words = [shape.binary, "-machine", f"pc,accel={shape.accelerator}"]
    words += ["-m", str(shape.memory_mib), "-nodefaults", "-no-user-config", "-display", "none"]
    words += ["-qmp", f"unix:{_socket(folder)},server=on,wait=off"]
    words += ["-debugcon", f"file:{folder / 'console'}"]
    if shape.disks > 1:
        words += ["-device", json.dumps({"driver": "virtio-scsi-pci", "id": "scsi0"})]
    for number, name in enumerate(disk_names(shape.disks)):
        file = {"driver": "file", "filename": str(folder / f"{name}.qcow2")}
        tree = {"driver": "qcow2", "node-name": name, "file": file}
        words += ["-blockdev", json.dumps(tree), "-device", json.dumps(_device(number, name))]
    return words


def _device(number: int, disk: str) -> Mapping[str, object]:
    device: dict[str, object] = {"drive": disk, "id": f"{disk}-device"}
    if number == 0:
        return {"driver": "virtio-blk-pci", "bootindex": 0, **device}
    place = {"bus": "scsi0.0", "scsi-id": number % _ON_CONTROLLER, "lun": 0}
    return {"driver": "scsi-hd", **place, **device}


def _console(folder: Path) -> str:
    return (folder / "console").read_text(encoding="ascii", errors="replace")


def _socket(folder: Path) -> str:
    return str(folder / "qmp")


async def _awaited(machine: Machine, ready: Callable[[str], bool]) -> None:
    """Wait until what the guest has said is enough."""
    deadline = time.monotonic() + _START_S
    while not ready(said := _console(machine.folder)):
        late = time.monotonic() > deadline
        if late or machine.process.process.poll() is not None:
            how = "has ended" if not late else f"is not ready after {_START_S:.0f} s"
            last = machine.process.said() or said[-80:].strip() or "nothing"
            message = f"the guest {how}; the last that was said: {last}"
            problem = Problem("guest-not-started", "guest", message)
            raise RunFailed.of(problem)
        await asyncio.sleep(_LOOK_EACH_S)
