"""Where a case runs, in words: figures of another machine are other figures."""

from __future__ import annotations

import os
import platform
from pathlib import Path

__all__ = ["file_system_of", "machine_words"]


def machine_words() -> str:
    """The processor and the kernel of this machine."""
    return f"{_processor()}, Linux {platform.release()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.machine()


def file_system_of(folder: Path) -> str:
    """The kind of file system that a folder is on, as the kernel calls it; empty: it cannot be told."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    for line in mounts:
        head, _, tail = line.partition(" - ")
        if head.split()[2:3] == [wanted]:
            return tail.partition(" ")[0]
    return ""
