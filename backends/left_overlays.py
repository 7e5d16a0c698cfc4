"""Whether an overlay was merged by the very QEMU that ran on it: proved by its process, not by times.

A QEMU that was started on an overlay has its name on its command line, as libvirt's has.  Where it has
the image under it open now, and nobody has the overlay, the overlay has left its disk: by the pivot of a
block job, which keeps what it held, or with the disk, which was detached and attached again on the
image, and then the overlay alone has what the guest wrote.  Only where somebody can tell that the image
has been open since the start (`backends.domain.pivots`) was it a pivot.  Files alone cannot tell that:
the guest has written to the image since.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from backends.locks import is_open
from backends.neighbours import lying_over
from planner.host.processes import command_line, open_files, writes_to

__all__ = ["KeptSinceStart", "merged_by_its_qemu", "nobody_knows"]

_BEFORE, _AFTER = '(?:^|[\\0="])', '(?:$|[\\0,"])'


KeptSinceStart = Callable[[int, str], bool]
"""Whether a process is a QEMU that has an image open since it was started, never closed meanwhile."""


def nobody_knows(_pid: int, _image: str) -> bool:
    """Of a QEMU that nobody keeps account of: it is not known."""
    return False


def merged_by_its_qemu(
    overlay: Path, base: Path, below: int, kept: KeptSinceStart = nobody_knows
) -> bool:
    """Whether a QEMU that was started on an overlay runs on its base now, without it.

    Args:
        overlay: Its name; no QEMU has it locked.
        base: The image under it.
        below: The same, open.
        kept: What tells a pivot from a disk that was attached anew.
    """
    if not is_open(below) or open_files([str(overlay)]).users:
        return False
    if any(image == overlay for _, image in lying_over(overlay, base)):
        return False
    name = re.compile(_BEFORE + re.escape(str(overlay)) + _AFTER)
    return any(
        name.search(command_line(pid)) and writes_to(pid, str(base)) and kept(pid, str(base))
        for pid in open_files([str(base)]).users
    )
