"""Which process of this machine a QEMU is, whether it still lives, and who has files open.

A process id alone names nothing for long, and names different processes in different PID namespaces:
a process is known by its id, the moment at which it started, the boot, and the namespace in which the
id is meant.  Linux only, from /proc; where /proc shows another namespace, or nothing, the answer is
"unknown", never a guess.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import frozen

__all__ = [
    "OpenFiles",
    "Process",
    "boot_id",
    "command_line",
    "daemon_process",
    "lives",
    "open_files",
    "process_of",
    "program_of",
    "qemu_process",
    "sockets_of",
    "writes_to",
]

_PROC = Path("/proc")
_BOOT_ID = _PROC / "sys/kernel/random/boot_id"
_MACHINE_ID = Path("/etc/machine-id")
_SOCKET = "socket:["
_LONGEST_NAME = 15
"""What the kernel keeps of a name (TASK_COMM_LEN)."""
_FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""Inode of the PID namespace in which every process of the machine is seen (PROC_PID_INIT_INO)."""


@frozen
class Process:
    """A process, so that no other one is ever taken for it.

    Attributes:
        pid: Its id, as this snapplan's PID namespace has it.
        started_ticks: When it started, in clock ticks since the boot.
        boot: Which boot of the kernel.
        pid_namespace: Inode of the namespace in which `pid` is meant.
        inner_pid: Its id as it sees it itself; the same for all who look.
        machine: The machine's id (``/etc/machine-id``), or empty.
    """

    pid: int
    started_ticks: int
    boot: str
    pid_namespace: int
    inner_pid: int = 0
    machine: str = ""


def boot_id() -> str:
    """What tells this boot from others; empty where the kernel does not say."""
    return _text(_BOOT_ID)


def command_line(pid: int) -> str:
    """A process's words, each with a NUL after it; empty where it has ended, or is not shown."""
    return _text(_PROC / str(pid) / "cmdline")


def program_of(pid: int) -> str:
    """A process's name; whole where the kernel has cut it off, and we may see its program."""
    folder = _PROC / str(pid)
    name = _text(folder / "comm")
    if len(name) == _LONGEST_NAME:
        with suppress(OSError):
            program = (folder / "exe").readlink().name
            return program if program.startswith(name) else name
    return name


def sockets_of(pid: int) -> frozenset[int] | None:
    """The inodes of the sockets that a process has; None: it has ended, or we may not look."""
    found = []
    try:
        for descriptor in (_PROC / str(pid) / "fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed meanwhile
                link = str(descriptor.readlink())
                if link.startswith(_SOCKET):
                    found.append(int(link.removeprefix(_SOCKET).rstrip("]")))
    except OSError:
        return None
    return frozenset(found)


def process_of(pid: int) -> Process | None:
    """The process that has this id now; None: there is none, or it cannot be told."""
    namespace = _pid_namespace()
    if pid <= 0 or not namespace:
        return None
    stat = _stat(pid)
    if stat is None:
        return None
    inner = _inner_pid(_PROC / str(pid))
    return Process(pid, stat[1], boot_id(), namespace, inner, _text(_MACHINE_ID))


def lives(process: Process) -> bool | None:
    """Whether a process is still there; None: that cannot be told from here."""
    boot = boot_id()
    if not boot or not process.boot:
        return None
    if process.boot != boot:
        # Another boot of this machine ended it; another machine's boot says nothing.
        same_machine = process.machine and process.machine == _text(_MACHINE_ID)
        return False if same_machine else None
    if process.pid_namespace != _pid_namespace():
        return None
    stat = _stat(process.pid)
    if stat is None or stat[1] != process.started_ticks:
        return False
    # A process that nobody has waited for yet is dead, unless threads of it are still at work.
    return stat[0] not in "ZX" or len(list(_threads(process.pid))) > 1


def qemu_process(peer: int | None, threads: Sequence[int], files: Sequence[str]) -> Process | None:
    """The process of a QEMU that answers; None: it cannot be told.

    Args:
        peer: Who listens at the socket, by the kernel's word.  It may be a relay.
        threads: Thread ids of QEMU's virtual CPUs, as QEMU itself has them.
        files: The VM's images.  A process with these threads is believed to be this QEMU, though it is
            not who listens, only if it has one of them open, or on its command line.
    """
    if peer and (not threads or _has_threads(peer, threads)):
        return process_of(peer)
    if not threads:
        return None
    leader = _leader(threads[0])
    if leader and _has_threads(leader, threads) and _uses(leader, files):
        return process_of(leader)
    # In a container it has other ids than here.
    found = [
        int(entry.name)
        for entry in _processes()
        if _names_one(int(entry.name), files) and _has_threads(int(entry.name), threads)
    ]
    return process_of(found[0]) if len(found) == 1 else None


def daemon_process(peer: int | None, files: Sequence[str]) -> Process | None:
    """The process of a storage daemon that answers; None: it cannot be told.

    A daemon names no thread of its own (fact 120).  It has all its images open, which a relay has not.

    Args:
        peer: Who listens at the socket, by the kernel's word.  It may be a relay.
        files: The daemon's images.
    """
    if not peer:
        return None
    if _has_open(peer, files):
        return process_of(peer)
    found = [pid for pid in open_files(files).users if _has_open(pid, files)]
    return process_of(found[0]) if len(found) == 1 else None


@frozen
class OpenFiles:
    """Who has files open.

    Attributes:
        users: By process id, one of the files that it has open.
        complete: Whether every process of the machine was looked at.
    """

    users: dict[int, str]
    complete: bool


def open_files(files: Iterable[str]) -> OpenFiles:
    """Look for processes, other than this one, that have one of these files open."""
    wanted = {_identity(file): file for file in files}
    wanted.pop(None, None)
    users: dict[int, str] = {}
    complete = _pid_namespace() == _FIRST_PID_NAMESPACE
    for entry in _processes():
        pid = int(entry.name)
        if pid == os.getpid():
            continue
        try:
            found = _opened(entry, set(wanted))
        except PermissionError:
            complete = False
        except OSError:
            continue  # it has ended
        else:
            if found is not None:
                users[pid] = wanted[found]
    return OpenFiles(users, complete)


def writes_to(pid: int, file: str) -> bool:
    """Whether a process is known to have a file open for writing."""
    folder, wanted = _PROC / str(pid), _identity(file)
    with suppress(OSError, ValueError):
        for descriptor in (folder / "fd").iterdir():
            if wanted is not None and _identity(str(descriptor)) == wanted:
                [flags] = _status(folder / "fdinfo", "flags", descriptor.name)
                if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:
                    return True
    return False


def _processes() -> Iterator[Path]:
    with suppress(OSError):
        yield from (entry for entry in _PROC.iterdir() if entry.name.isdecimal())


def _opened(process: Path, wanted: set[tuple[int, int] | None]) -> tuple[int, int] | None:
    for descriptor in (process / "fd").iterdir():
        found = _identity(str(descriptor))
        if found is not None and found in wanted:
            return found
    return None


def _identity(file: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(file)  # noqa: PTH116 - of descriptors too
    except (OSError, ValueError):
        return None
    return stat.st_dev, stat.st_ino


def _pid_namespace() -> int:
    """Inode of our PID namespace; 0 where /proc does not show it."""
    try:
        if (_PROC / "self").readlink().name != str(os.getpid()):
            return 0
        return (_PROC / "self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _stat(pid: int) -> tuple[str, int] | None:
    """A process's state and the tick at which it started."""
    # The name in parentheses may hold anything, also blanks and parentheses.
    fields = _text(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    try:
        return fields[0], int(fields[19])
    except (IndexError, ValueError):
        return None


def _status(folder: Path, key: str, name: str = "status") -> list[str]:
    for line in _text(folder / name).splitlines():
        if line.startswith(f"{key}:"):
            return line.split()[1:]
    return []


def _inner_pid(folder: Path) -> int:
    ids = _status(folder, "NSpid")
    return int(ids[-1]) if ids and ids[-1].isdecimal() else 0


def _threads(pid: int) -> Iterator[Path]:
    with suppress(OSError):
        yield from (_PROC / str(pid) / "task").iterdir()


def _has_threads(pid: int, threads: Sequence[int]) -> bool:
    """Whether a process has these threads, by the ids that it has for them itself."""
    return set(threads) <= {_inner_pid(thread) for thread in _threads(pid)}


def _leader(thread: int) -> int:
    """The process that a thread of this namespace belongs to; 0: there is none."""
    ids = _status(_PROC / str(thread), "Tgid")
    return int(ids[0]) if ids and ids[0].isdecimal() else 0


def _names_one(pid: int, files: Sequence[str]) -> bool:
    """Whether one of the files is on the command line of a process."""
    words = command_line(pid)
    return any(file.startswith("/") and file in words for file in files)


def _uses(pid: int, files: Sequence[str]) -> bool:
    if _names_one(pid, files):
        return True
    wanted = {identity for file in files if (identity := _identity(file)) is not None}
    try:
        return _opened(_PROC / str(pid), {*wanted}) is not None
    except OSError:
        return False


def _has_open(pid: int, files: Sequence[str]) -> bool:
    """Whether a process has each of these files open that is there, and at least one."""
    wanted = {identity for file in files if (identity := _identity(file)) is not None}
    try:
        return bool(wanted) and all(_opened(_PROC / str(pid), {each}) for each in wanted)
    except OSError:
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
