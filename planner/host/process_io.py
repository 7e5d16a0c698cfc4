"""How many bytes a process has read and written, from /proc: the only word on a snapshot job's way.

QEMU answers nothing while it saves or loads by a snapshot job (fact 2), and /proc/PID/io counts on.
What is written is counted when it goes to the page cache or the disk (``write_bytes``); where the file
system counts nothing there (tmpfs), what was given to ``write`` is taken, which has QEMU's metadata in
it, too.  Only who may trace the process may look; for everybody else there is no word.
"""

from __future__ import annotations

from pathlib import Path

from attrs import define, field

from planner.host.processes import Process

__all__ = ["FileMeter", "ProcessMeter", "copy_meter", "meter_of"]

_WANTED = ("rchar", "wchar", "write_bytes")


def _counters(pid: int) -> dict[str, int] | None:
    try:
        lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
        pairs = dict(line.split(": ", 1) for line in lines)
        return {name: int(pairs[name]) for name in _WANTED}
    except (OSError, ValueError, KeyError):
        return None


@define
class ProcessMeter:
    """A `planner.run.progress.Meter` of a process.

    Attributes:
        pid: Its id.
        total_bytes: What there is to be moved, at most; None: not known.
    """

    pid: int
    total_bytes: int | None = None
    _reads: bool = field(init=False, default=False)
    _began: dict[str, int] | None = field(init=False, default=None)
    _most: int = field(init=False, default=0)

    def begin(self, *, reads: bool) -> None:
        """Count from now on."""
        self._reads, self._began, self._most = reads, _counters(self.pid), 0

    def done_bytes(self) -> int | None:
        """What was moved since; it never grows less."""
        now = _counters(self.pid)
        if now is None or self._began is None:
            return None
        moved = {name: now[name] - self._began[name] for name in _WANTED}
        done = moved["rchar"] if self._reads else moved["write_bytes"] or moved["wchar"]
        self._most = max(self._most, done)
        return self._most


def meter_of(process: Process | None, total_bytes: int) -> ProcessMeter | None:
    """What counts the bytes of a QEMU's snapshot job; None: its process is not known.

    Args:
        process: The QEMU.
        total_bytes: What there is to be moved, at most; 0: not known.
    """
    return None if process is None else ProcessMeter(process.pid, total_bytes or None)


@define
class FileMeter:
    """A `planner.run.progress.Meter` of a file that is being written, perhaps under another name.

    Attributes:
        files: Its names; whichever is there is looked at.
        total_bytes: What it will hold, at most; None: not known.
    """

    files: tuple[str, ...]
    total_bytes: int | None = None

    def begin(self, *, reads: bool) -> None:
        """A new file begins with nothing."""

    def done_bytes(self) -> int | None:
        """What the file system keeps of it; 0: it is not there yet."""
        found = (_allocated_bytes(Path(file)) for file in self.files)
        return next((count for count in found if count is not None), 0)


def copy_meter(file: str, source: str) -> FileMeter:
    """What counts the bytes of a copy that is written beside its place, and put there when it is whole.

    Args:
        file: Its place.
        source: What is copied; it holds no less than its copy.
    """
    path = Path(file)
    beside = path.parent / f".{path.name}.snapplan"
    return FileMeter((str(beside), file), _allocated_bytes(Path(source)))


def _allocated_bytes(file: Path) -> int | None:
    """What the file system keeps of a file; None: it cannot be looked at."""
    try:
        return file.stat().st_blocks * 512
    except OSError:
        return None
