"""Whether the images of a VM that is not running can be written to: looked at before the first one is.

Without a VM several images are changed one after the other, and nothing takes the first back when the
last one fails.
"""

from __future__ import annotations

from collections.abc import Mapping

from planner.errors import Problem
from planner.run.ports import Host, HostRefused, NoReply

__all__ = ["LOOK_BEFORE_WRITE", "unwritable"]

LOOK_BEFORE_WRITE = "look-before-write"
_TIMEOUT_S = 120.0
_REMEDIES = {
    "image-in-use": "end that QEMU first",
    "file-unwritable": "give the right to write to it",
}


async def unwritable(files: Mapping[str, str], host: Host | None) -> tuple[Problem, ...]:
    """The images that cannot be written to, or that somebody has open.

    Args:
        files: By disk, its image.
        host: The machine that they are on; None: it cannot be asked.
    """
    if host is None:
        return ()
    problems = []
    for disk, file in files.items():
        try:
            await host.do(LOOK_BEFORE_WRITE, {"path": file}, _TIMEOUT_S)
        except HostRefused as refused:
            remedy = _REMEDIES.get(refused.code, "")
            problems.append(Problem(refused.code, disk, refused.description, remedy))
        except NoReply as silent:
            problems.append(Problem("image-unreadable", disk, f"{file}: {silent}"))
    return tuple(problems)
