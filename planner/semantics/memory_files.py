"""What becomes of a guest's memory that is a file, as QEMUs map it, and of streams that leave it out.

Theory: memory is two pages.  The guest writes the first whenever it runs, and never the second, so the
second shows what a QEMU that maps the file private still reads from it.  What a page holds is the number
of the instant at which it was written; 0 is a page that nobody wrote.  Every function takes the host's
state and gives the next one; where QEMU refuses, it raises `QemuRefuses` with the words of QEMU 11.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, field, frozen

__all__ = [
    "EMPTY",
    "MappedMemory",
    "MemoryHost",
    "QemuRefuses",
    "RamFile",
    "Reader",
    "StateFile",
    "change_file",
    "cut_power",
    "end_qemu",
    "inflate_balloon",
    "memory_of_qemu",
    "read_stream",
    "rename",
    "run_guest",
    "set_ignore_shared",
    "start_qemu",
    "sync",
    "write_stream",
]

Pages = tuple[int, int]
EMPTY: Pages = (0, 0)


class QemuRefuses(Exception):
    """QEMU says no, or ends."""


@frozen
class RamFile:
    """A file that is a guest's memory.

    Attributes:
        pages: What it holds.
        lasts: Whether that is on the disk.
    """

    pages: Pages = EMPTY
    lasts: bool = False


@frozen
class StateFile:
    """A stream in a file.

    Attributes:
        device: The instant of the devices; 0: nothing is in it.
        memory: The guest's memory; None: it was left out.
        ignores_shared: Whether it says that it was written with `x-ignore-shared`.
        lasts: Whether that is on the disk.
    """

    device: int
    memory: Pages | None
    ignores_shared: bool
    lasts: bool = False


@frozen
class MappedMemory:
    """How a QEMU has its memory.

    Attributes:
        id: The object's id.
        file: The file; empty: none, it goes with the process.
        share: Whether what is written goes to the file.
        read_only: Whether QEMU opened the file to be read only.
        discard_data: Whether the file is emptied at the end.
    """

    id: str
    file: str = ""
    share: bool = False
    read_only: bool = False
    discard_data: bool = False


@frozen
class Reader:
    """A QEMU.

    Attributes:
        memory: How it has its memory.
        own: Its own copy of each page; None: it still reads the file's.
        device: The instant of its devices; 0: nothing was read.
        ignores_shared: Whether the capability is on.
    """

    memory: MappedMemory
    own: tuple[int | None, int | None] = (None, None)
    device: int = 0
    ignores_shared: bool = False


@frozen
class MemoryHost:
    """The files of a host and the QEMUs that run.

    Attributes:
        ram: Files of memory by name.
        states: Streams by name.
        qemus: The QEMUs by name.
        clock: The last instant.
    """

    ram: Mapping[str, RamFile] = field(factory=dict)
    states: Mapping[str, StateFile] = field(factory=dict)
    qemus: Mapping[str, Reader] = field(factory=dict)
    clock: int = 1

    def key(self) -> tuple[object, ...]:
        """Equal for equal hosts, to be looked up."""
        parts = (self.ram, self.states, self.qemus)
        return tuple(tuple(sorted(part.items())) for part in parts)


def start_qemu(host: MemoryHost, name: str, memory: MappedMemory) -> MemoryHost:
    """A QEMU starts and waits; a file that is missing is made (fact 81)."""
    if memory.file and memory.file not in host.ram:
        host = _with_ram(host, memory.file, RamFile())
    return _with_qemu(host, name, Reader(memory, own=(None, None) if memory.file else (0, 0)))


def set_ignore_shared(host: MemoryHost, name: str, *, on: bool) -> MemoryHost:
    """The capability `x-ignore-shared` is switched."""
    return _with_qemu(host, name, evolve(host.qemus[name], ignores_shared=on))


def memory_of_qemu(host: MemoryHost, name: str) -> Pages:
    """What a guest finds in its memory."""
    qemu = host.qemus[name]
    below = host.ram[qemu.memory.file].pages if qemu.memory.file else EMPTY
    first, second = (
        lower if own is None else own for own, lower in zip(qemu.own, below, strict=True)
    )
    return first, second


def read_stream(host: MemoryHost, name: str, file: str, memory_id: str) -> MemoryHost:
    """`migrate-incoming`: the devices, and the memory where it is in the stream (facts 78 to 81).

    Args:
        host: Before it.
        name: The QEMU that reads.
        file: The stream.
        memory_id: What the memory is called in it.

    Raises:
        QemuRefuses: The QEMU ends over it.
    """
    qemu, stream = host.qemus[name], host.states.get(file)
    if stream is None or not stream.device:
        raise QemuRefuses("load of migration failed")
    if stream.ignores_shared != qemu.ignores_shared:
        here, there = ("on" if on else "off" for on in (qemu.ignores_shared, stream.ignores_shared))
        raise QemuRefuses(
            f"Capability x-ignore-shared is {here}, but received capability is {there}"
        )
    if memory_id != qemu.memory.id:
        raise QemuRefuses(f'Unknown ramblock "{memory_id}", cannot accept migration')
    if stream.memory is not None:
        if _left_out(qemu):
            raise QemuRefuses(f"block {memory_id} should not be migrated !")
        for page in (0, 1):
            host = _write_page(host, name, page, stream.memory[page])
    return _with_qemu(host, name, evolve(host.qemus[name], device=stream.device))


def write_stream(host: MemoryHost, name: str, file: str) -> MemoryHost:
    """`migrate`: the devices, and the memory unless it is left out.

    Raises:
        QemuRefuses: Nothing was read yet.
    """
    qemu = host.qemus[name]
    if not qemu.device:
        raise QemuRefuses("Guest is waiting for an incoming migration")
    memory = None if _left_out(qemu) else memory_of_qemu(host, name)
    return _with_state(host, file, StateFile(qemu.device, memory, qemu.ignores_shared))


def run_guest(host: MemoryHost, name: str) -> MemoryHost:
    """The guest runs for a moment: it writes its first page, and its devices go on."""
    host = evolve(host, clock=host.clock + 1)
    host = _write_page(host, name, 0, host.clock)
    return _with_qemu(host, name, evolve(host.qemus[name], device=host.clock))


def inflate_balloon(host: MemoryHost, name: str) -> MemoryHost:
    """The guest gives its second page back: it is punched out of the file (fact 83)."""
    memory = host.qemus[name].memory
    if not memory.file or memory.read_only:
        return host
    return change_file(host, memory.file, 0)


def end_qemu(host: MemoryHost, name: str) -> MemoryHost:
    """Its process ends; memory without a file goes with it."""
    memory = host.qemus[name].memory
    left = {other: qemu for other, qemu in host.qemus.items() if other != name}
    host = evolve(host, qemus=left)
    if memory.discard_data and memory.share and memory.file in host.ram:
        return _with_ram(host, memory.file, RamFile())
    return host


def change_file(host: MemoryHost, file: str, content: int) -> MemoryHost:
    """Somebody writes the second page of a file."""
    pages = host.ram[file].pages
    return _with_ram(host, file, RamFile((pages[0], content)))


def sync(host: MemoryHost, file: str) -> MemoryHost:
    """What a file holds is on the disk."""
    if file in host.ram:
        return _with_ram(host, file, evolve(host.ram[file], lasts=True))
    if file in host.states:
        return _with_state(host, file, evolve(host.states[file], lasts=True))
    return host


def rename(host: MemoryHost, file: str, to: str) -> MemoryHost:
    """A file gets another name; those who map it keep it."""
    qemus = {
        name: evolve(qemu, memory=evolve(qemu.memory, file=to))
        if qemu.memory.file == file
        else qemu
        for name, qemu in host.qemus.items()
    }
    ram = {to if name == file else name: content for name, content in host.ram.items()}
    states = {to if name == file else name: content for name, content in host.states.items()}
    return evolve(host, ram=ram, states=states, qemus=qemus)


def cut_power(host: MemoryHost) -> MemoryHost:
    """No process is left, and of a file only what is on the disk."""
    ram = {n: file if file.lasts else RamFile(lasts=True) for n, file in host.ram.items()}
    lost = StateFile(0, None, ignores_shared=False, lasts=True)
    states = {n: file if file.lasts else lost for n, file in host.states.items()}
    return evolve(host, ram=ram, states=states, qemus={})


def _left_out(qemu: Reader) -> bool:
    return qemu.ignores_shared and qemu.memory.share and bool(qemu.memory.file)


def _write_page(host: MemoryHost, name: str, page: int, content: int) -> MemoryHost:
    qemu = host.qemus[name]
    if qemu.memory.share and qemu.memory.file:
        pages = host.ram[qemu.memory.file].pages
        written = (content, pages[1]) if page == 0 else (pages[0], content)
        return _with_ram(host, qemu.memory.file, RamFile(written))
    own = (content, qemu.own[1]) if page == 0 else (qemu.own[0], content)
    return _with_qemu(host, name, evolve(qemu, own=own))


def _with_ram(host: MemoryHost, name: str, file: RamFile) -> MemoryHost:
    return evolve(host, ram={**host.ram, name: file})


def _with_state(host: MemoryHost, name: str, file: StateFile) -> MemoryHost:
    return evolve(host, states={**host.states, name: file})


def _with_qemu(host: MemoryHost, name: str, qemu: Reader) -> MemoryHost:
    return evolve(host, qemus={**host.qemus, name: qemu})
