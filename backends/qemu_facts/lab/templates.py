"""Templates and clones by hand: the memory in a file of its own, the devices' state in a stream.

A source VM is saved as a plain stream. A maker reads it into memory that is a shared file and writes the
devices' state alone (`x-ignore-shared`). A clone maps that file and reads that state. Every VM here has
copies of the source's disks of its own, so what goes wrong with one is of its memory.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from backends.qemu_facts.lab.migration import (
    incoming_uri,
    migrate_to,
    set_capabilities,
    wait_migration,
)
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.qemu import QemuVm, create_images, image_path, run_qemu
from backends.qemu_facts.lab.topology import Topology, two_disks

__all__ = ["IGNORE_SHARED", "MEMORY_MIB", "Templates", "mapped_kib", "memory_words", "read_state"]

IGNORE_SHARED = "x-ignore-shared"
MEMORY_MIB = 64
MEMORY_ID = "pc.ram"


def memory_words(
    file: Path | None,
    *,
    share: bool,
    kind: str = "memory-backend-file",
    name: str = MEMORY_ID,
    mib: int = MEMORY_MIB,
    more: str = "",
) -> tuple[str, ...]:
    """The words that make an object of the VM's memory, in a file or not."""
    path = "" if file is None else f",mem-path={file}"
    shared = f",share={'on' if share else 'off'}"
    words = f"{kind},id={name},size={mib}M{path}{shared}{more}"
    return "-object", words, "-machine", f"memory-backend={name}"


def read_state(vm: QemuVm, file: Path, *names: str) -> str:
    """Read a stream into a VM that waits for one, with these capabilities; the run state then."""
    set_capabilities(vm, *names)
    vm.execute("migrate-incoming", uri=incoming_uri(vm, file))
    wait_migration(vm, "completed", since=0)
    vm.wait_until(lambda: vm.status() != "inmigrate", "the stream read")
    return vm.status()


def mapped_kib(vm: QemuVm, file: Path, what: str) -> int:
    """What the kernel says of a process's mappings of a file, summed up.

    `Rss` is what is in its memory, `Anonymous` what of this is its own copy.
    """
    kib, of_file, inode = 0, False, str(file.stat().st_ino)
    for line in Path(f"/proc/{vm.process.pid}/smaps").read_text(encoding="utf-8").splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            of_file = rest[3] == inode  # not by its name: QEMU may have another root
        elif of_file and name == f"{what}:":
            kib += int(rest[0])
    return kib


@dataclass
class Templates:
    """The files of one source and all VMs that come from it."""

    directory: Path
    topology: Topology = field(default_factory=lambda: two_disks(guest=True))

    @property
    def stream(self) -> Path:
        """The source's whole machine state."""
        return self.directory / "stream"

    @property
    def memory(self) -> Path:
        """The memory of the template."""
        return self.directory / "ram"

    @property
    def state(self) -> Path:
        """The devices' state of the template."""
        return self.directory / "state"

    def save_source(self, *words: str, names: tuple[str, ...] = ()) -> None:
        """Run a source for a while, and keep its machine state and its disks."""
        with self.start(*words, first=True) as vm:
            vm.wait_guest(2)
            set_capabilities(vm, *names)
            vm.execute("stop")
            wait_migration(vm, "completed", since=migrate_to(vm, self.stream))
            vm.end()
            for disk in self.topology.disks:
                shutil.copy(image_path(vm.directory, disk), self.directory)

    @contextlib.contextmanager
    def start(self, *words: str, first: bool = False) -> Iterator[QemuVm]:
        """A QEMU with these words more, on disks of the instant, or new ones."""
        directory = Path(tempfile.mkdtemp(prefix="sp-"))
        try:
            if first:
                create_images(directory, self.topology)
            else:
                for disk in self.topology.disks:
                    shutil.copy(image_path(self.directory, disk), directory)
            with run_qemu(self.topology, directory, words) as vm:
                yield vm
        finally:
            shutil.rmtree(directory)

    @contextlib.contextmanager
    def waiting(self, *words: str) -> Iterator[QemuVm]:
        """A QEMU that waits for a stream."""
        with self.start(*words, "-S", "-incoming", "defer") as vm:
            yield vm

    def make(self, *words: str, names: tuple[str, ...] = (IGNORE_SHARED,)) -> None:
        """Make the template from the source's stream; the guest does not run."""
        words = words or memory_words(self.memory, share=True)
        with self.waiting(*words) as vm:
            same(read_state(vm, self.stream), "paused")
            set_capabilities(vm, *names)
            mark = migrate_to(vm, self.state)
            wait_migration(vm, "completed", since=mark)
            vm.end()

    @contextlib.contextmanager
    def clone(self, *words: str, names: tuple[str, ...] = (IGNORE_SHARED,)) -> Iterator[QemuVm]:
        """A VM that read the template, and stands."""
        with self.waiting(*(words or memory_words(self.memory, share=False))) as vm:
            same(read_state(vm, self.state, *names), "paused")
            yield vm
