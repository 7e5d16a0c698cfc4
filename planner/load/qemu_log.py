"""What QEMU wrote to its standard error while a load failed, or where that went.

Why QEMU did not take a machine state is in its own messages, and mostly nowhere in its answer ("Error
-22 while loading VM state").  Where they go to a file of this machine, what was added since the load
began is quoted; else it is said where to look.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from attrs import evolve, frozen

from planner.errors import Problem
from planner.load.loading import LoadOutcome

__all__ = ["QemuLog", "with_log"]

_MOST_BYTES = 4096
_MOST_LINES = 8


@frozen
class QemuLog:
    """A QEMU's standard error.

    Attributes:
        pid: Its process; 0: not known.
        target: What its standard error is, as the kernel names it; empty: it cannot be seen.
        size_bytes: Length of that file when it was looked at; None: it is no regular file.
    """

    pid: int = 0
    target: str = ""
    size_bytes: int | None = None

    @classmethod
    def of(cls, pid: int | None) -> QemuLog:
        """That of a process, as it is now."""
        if pid is None:
            return cls()
        link = _standard_error(pid)
        try:
            found = link.stat()
            target = str(link.readlink())
        except OSError:
            return cls(pid)
        return cls(pid, target, found.st_size if stat.S_ISREG(found.st_mode) else None)

    def said(self) -> str:
        """What was added since, its last lines, with nothing in it that a terminal would obey."""
        if self.size_bytes is None:
            return ""
        try:
            with _standard_error(self.pid).open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self.size_bytes, end - _MOST_BYTES))
                added = file.read(_MOST_BYTES)
        except OSError:
            return ""
        text = added.decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return " | ".join(_harmless(line) for line in lines[-_MOST_LINES:])

    @property
    def where(self) -> str:
        """Where a person finds it."""
        if self.size_bytes is not None:
            return _harmless(self.target)
        if self.target == os.devnull:
            return "nowhere: its standard error is /dev/null"
        known = f" ({_harmless(self.target)})" if self.target else ""
        return (
            f"where its standard error goes{known}: the terminal or file of whoever started it; under "
            f"systemd `journalctl _PID={self.pid or 'PID'}`, under libvirt /var/log/libvirt/qemu/"
        )


def _standard_error(pid: int) -> Path:
    return Path(f"/proc/{pid}/fd/2")


def _harmless(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def with_log(outcome: LoadOutcome, log: QemuLog) -> LoadOutcome:
    """The end of a load whose job failed, with what QEMU itself says of it."""
    if outcome.failure is None or outcome.failure.code != "job-failed":
        return outcome
    said = log.said()
    if said:
        words = f"QEMU wrote to {log.where}: {said}"
        return evolve(outcome, left=(*outcome.left, Problem("qemu-log", "vm", words)))
    words = "why, QEMU writes to its standard error"
    problem = Problem("qemu-log", "vm", words, f"look {log.where}")
    return evolve(outcome, left=(*outcome.left, problem))
