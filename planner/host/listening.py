"""The QEMUs of this machine, and the sockets that they listen at: for who does not know the address.

From /proc only, and only of processes whose descriptors we may see.  Which of the sockets is QMP the
kernel does not know: a monitor, a guest agent's channel and a serial line look the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from planner.host.processes import program_of, sockets_of

__all__ = ["ListeningQemu", "listener_at", "listening_qemus"]

_PROC = Path("/proc")
_NAMES = ("qemu", "kvm")
_LISTENS = 0x10000
"""The flag `__SO_ACCEPTCON` in /proc/net/unix."""
_LIMIT = 32


@frozen
class ListeningQemu:
    """One process.

    Attributes:
        pid: Its id.
        name: What the kernel calls it.
        sockets: The paths that it listens at; empty: none, or we may not see them.
    """

    pid: int
    name: str
    sockets: tuple[str, ...] = ()


def listening_qemus() -> tuple[ListeningQemu, ...]:
    """The first QEMUs of this machine, in order of id."""
    found = sorted(_processes())[:_LIMIT]
    paths = _listening_paths() if found else {}
    return tuple(ListeningQemu(pid, name, _sockets(pid, paths)) for pid, name in found)


def listener_at(path: str) -> ListeningQemu | None:
    """The process that listens at a path, with all that it listens at; None: it cannot be seen.

    It may be any process, not a QEMU alone.
    """
    paths = _listening_paths()
    if path not in paths.values():
        return None
    for folder in _PROC.glob("[0-9]*"):
        pid = int(folder.name)
        if path in (sockets := _sockets(pid, paths)):
            return ListeningQemu(pid, program_of(pid), sockets)
    return None


def _processes() -> Iterator[tuple[int, str]]:
    for folder in _PROC.glob("[0-9]*"):
        name = _text(folder / "comm").strip()
        if name.startswith(_NAMES):
            yield int(folder.name), name


def _listening_paths() -> dict[int, str]:
    """By inode, the paths of sockets that somebody listens at."""
    found = {}
    for line in _text(_PROC / "net/unix").splitlines()[1:]:
        words = line.split(maxsplit=7)
        if len(words) == 8 and int(words[3], 16) & _LISTENS and words[7].startswith("/"):
            found[int(words[6])] = words[7]
    return found


def _sockets(pid: int, paths: dict[int, str]) -> tuple[str, ...]:
    return tuple(sorted({paths[inode] for inode in sockets_of(pid) or () if inode in paths}))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
