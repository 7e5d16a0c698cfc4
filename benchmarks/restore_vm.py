"""What `benchmarks.restore` drives: a QEMU whose guest speaks through a socket, by bare QMP."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import define, field

from tests.support import images
from tests.support.qemu import end_process, qemu_binary, qemu_img_binary, qemu_version
from tests.support.qmp import QmpClient
from tests.support.writer import MORE_MEMORY_MIB, boot_sectors

DISK_BYTES = 8 << 20
HEARTBEAT_PAGES = 16
READ_ONLY_SINCE = (8, 2)
FILE_URI_SINCE = (8, 2)
DEADLINE_S = 600.0


@define
class Vm:
    """A running QEMU."""

    process: subprocess.Popen[bytes]
    qmp: QmpClient
    console: socket.socket
    memory_mib: int

    def execute(self, command: str, **arguments: Any) -> Any:
        return self.qmp.execute(command, timeout_s=DEADLINE_S, **arguments)

    def run_job(self, command: str, **arguments: Any) -> None:
        mark = self.qmp.mark()
        self.execute(command, job_id="job", **arguments)

        def concluded(data: Any) -> bool:
            return bool(data["status"] == "concluded")

        self.qmp.wait_event("JOB_STATUS_CHANGE", concluded, since=mark, timeout_s=DEADLINE_S)
        (job,) = self.execute("query-jobs")
        if "error" in job:
            raise AssertionError(job["error"])
        self.execute("job-dismiss", id="job")

    def write_stream(self, file: Path, *names: str) -> None:
        self._migrate("migrate", f"exec:cat > {file}", file, names)

    def read_stream(self, file: Path, *names: str) -> None:
        self._migrate("migrate-incoming", f"exec:cat < {file}", file, names)

    def _migrate(self, command: str, by_shell: str, file: Path, names: tuple[str, ...]) -> None:
        capabilities = [{"capability": name, "state": True} for name in ("events", *names)]
        self.execute("migrate-set-capabilities", capabilities=capabilities)
        mark = self.qmp.mark()
        uri = f"file:{file}" if self.qmp.version >= FILE_URI_SINCE else by_shell
        self.execute(command, uri=uri)

        def ended(data: Any) -> bool:
            if data["status"] == "failed":
                raise AssertionError(f"{command} failed")
            return bool(data["status"] == "completed")

        self.qmp.wait_event("MIGRATION", ended, since=mark, timeout_s=DEADLINE_S)
        if command == "migrate-incoming":  # the event is a little earlier than its end
            while self.execute("query-status")["status"] == "inmigrate":
                pass
        off = [{"capability": name, "state": False} for name in names]
        if off:
            self.execute("migrate-set-capabilities", capabilities=off)

    def wait_life(self) -> float:
        """Wait for the next byte of the guest; when it came."""
        if not self.console.recv(1):
            raise AssertionError("QEMU ended")
        return time.perf_counter()

    def wait_filled(self) -> None:
        """Wait until the guest has filled its memory and begun to write it again."""
        said, wanted = b"", (self.memory_mib << 8) // HEARTBEAT_PAGES + 8
        lines = 0
        while lines < wanted:
            said = self.console.recv(1 << 16)
            if not said or b"FAIL" in said:
                raise AssertionError(f"the guest: {said!r}")
            lines += said.count(b"\n")

    def pss_mib(self) -> float:
        """What the process costs, each shared page divided by those who have it."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text(encoding="utf-8")
        return int(text.partition("\nPss:")[2].split()[0]) / 1024


@define
class Host:
    """The files of one source, and how a QEMU on them is started."""

    directory: Path
    memory_mib: int
    mib_per_s: int
    has_mapped_ram: bool
    serial: Iterator[int] = field(factory=lambda: iter(range(10**6)))

    @property
    def base(self) -> Path:
        """The source's disk; restores that start a QEMU lie over it."""
        return self.directory / "disk0"

    @property
    def stream(self) -> Path:
        return self.directory / "stream"

    @property
    def mapped(self) -> Path:
        return self.directory / "mapped"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def memory(self) -> Path:
        return self.directory / "ram"

    def create_disk(self) -> None:
        sectors = boot_sectors(self.memory_mib, self.mib_per_s, heartbeat_pages=HEARTBEAT_PAGES)
        images.create(qemu_img_binary(), self.base, "qcow2", DISK_BYTES, sectors)

    def memory_words(self, *, share: bool) -> tuple[str, ...]:
        words = f"memory-backend-file,id=pc.ram,size={self.all_mib}M,mem-path={self.memory}"
        words += f",share={'on' if share else 'off'}"
        if not share and qemu_version() >= READ_ONLY_SINCE:
            words += ",readonly=on,rom=off"
        return "-object", words, "-machine", "memory-backend=pc.ram"

    @property
    def all_mib(self) -> int:
        return self.memory_mib + MORE_MEMORY_MIB

    @contextlib.contextmanager
    def start(
        self, name: str, *words: str, incoming: bool = False, base: bool = False
    ) -> Iterator[Vm]:
        """Start one, until it answers QMP; the source runs on, all others stand."""
        own = self.directory / f"{name}.{next(self.serial)}"
        disk = self.base
        if name != "source" and not base:
            disk = own.with_suffix(".overlay")
            images.create_overlay(qemu_img_binary(), disk, self.base, DISK_BYTES)
        listener = socket.socket(socket.AF_UNIX)
        with contextlib.closing(listener):
            listener.bind(f"{own}.c")
            listener.listen()
            arguments = [qemu_binary(), "-machine", "pc,accel=tcg", "-m", f"{self.all_mib}M"]
            arguments += ["-nodefaults", "-no-user-config", "-display", "none"]
            arguments += ["-qmp", f"unix:{own}.q,server=on,wait=off"]
            arguments += ["-chardev", f"socket,id=console,path={own}.c"]
            arguments += ["-device", "isa-debugcon,iobase=0xe9,chardev=console"]
            file = f'{{"driver":"file","filename":"{disk}"}}'
            arguments += ["-blockdev", f'{{"driver":"qcow2","node-name":"disk0","file":{file}}}']
            arguments += ["-device", "virtio-blk-pci,drive=disk0,bootindex=0", *words]
            arguments += [] if name == "source" else ["-S"]
            arguments += ["-incoming", "defer"] if incoming else []
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *arguments], stderr=subprocess.DEVNULL
            )
            try:
                qmp = connect(process, Path(f"{own}.q"))
                with contextlib.closing(qmp):
                    qmp.execute("query-status")
                    console, _ = listener.accept()
                    with contextlib.closing(console):
                        yield Vm(process, qmp, console, self.memory_mib)
            finally:
                end_process(process)
                if disk != self.base:
                    disk.unlink()

    @staticmethod
    def drop_from_cache(*files: Path) -> None:
        """Have the kernel read them anew: what was written is on the disk first."""
        for file in files:
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)

    @staticmethod
    def warm(*files: Path) -> None:
        """Read them once."""
        for file in files:
            with file.open("rb", buffering=0) as opened:
                while opened.read(1 << 22):
                    pass


def connect(process: subprocess.Popen[bytes], path: Path) -> QmpClient:
    """Connect as soon as QEMU listens."""
    while True:
        try:
            return QmpClient(path, timeout_s=DEADLINE_S)
        except (FileNotFoundError, ConnectionRefusedError):
            if process.poll() is not None:
                raise AssertionError("QEMU ended") from None
            time.sleep(0.001)
