"""What speaks against a disk as part of any kind: why nothing can be made of it, or beside it, now."""

from __future__ import annotations

from collections.abc import Iterator

from planner.errors import Problem
from planner.model.facts import Disk

__all__ = ["elsewhere", "inactive"]


def inactive(disk: Disk, name: str) -> Iterator[Problem]:
    """Whether its node is inactive.

    Args:
        disk: The disk.
        name: What messages call it.
    """
    if not disk.active:
        yield Problem(
            "node-inactive",
            name,
            "its node is inactive after a migration (fact 29)",
            "resume the VM, or activate the node with blockdev-set-active",
        )


def elsewhere(disk: Disk, what: str) -> Problem:
    """The name that QEMU has for its image means another file here, or none (`Reach.ELSEWHERE`).

    Args:
        disk: The disk.
        what: What is to be made beside the image, with its article.
    """
    return Problem(
        "image-elsewhere",
        disk.name,
        f"QEMU has its image open as {disk.filename}, and here that name does not mean it: {what} "
        "could not be made beside it, nor looked after",
        "run snapplan among QEMU's mounts (nsenter --mount --target PID), or make the part internal",
    )
