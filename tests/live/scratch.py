"""What is left of VMs that had their files in a folder (the fixture `scratch`)."""

import os
import time
from pathlib import Path

__all__ = ["none_left", "qemus"]

DEADLINE_S = 20


def qemus(folder):
    """The processes whose command lines name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def none_left(folder):
    """Whether all of them have ended: the kernel takes its time to end a process."""
    deadline = time.monotonic() + DEADLINE_S
    while qemus(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return qemus(folder) == []
