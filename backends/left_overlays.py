"""Whether an overlay was merged by the very QEMU that ran on it: proved by its process, not by times.

A QEMU that was started on an overlay has its name on its command line, as libvirt's has.  Where it has
the image under it open now, and nobody has the overlay, the overlay left its disk by the pivot of a
block job, which keeps what it held.  Files alone cannot tell that: the guest has written to the image
since.
"""

from __future__ import annotations

import re
from pathlib import Path

from backends.locks import is_open
from backends.neighbours import lying_over
from planner.host.processes import command_line, open_files, writes_to

__all__ = ["merged_by_its_qemu"]

_BEFORE, _AFTER = '(?:^|[\\0="])', '(?:$|[\\0,"])'


def merged_by_its_qemu(overlay: Path, base: Path, below: int) -> bool:
    """Whether a QEMU that was started on an overlay runs on its base now, without it.

    Args:
        overlay: Its name; no QEMU has it locked.
        base: The image under it.
        below: The same, open.
    """
    if not is_open(below) or open_files([str(overlay)]).users:
        return False
    if any(image == overlay for _, image in lying_over(overlay, base)):
        return False
    name = re.compile(_BEFORE + re.escape(str(overlay)) + _AFTER)
    return any(
        name.search(command_line(pid)) and writes_to(pid, str(base))
        for pid in open_files([str(base)]).users
    )
