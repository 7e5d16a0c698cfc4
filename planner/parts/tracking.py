"""Why a background capture cannot work on a VM: nobody may write-protect its memory, or nobody can.

QEMU says so when the capability is set, in few words: "not supported by host kernel" where its user
lacks a permission, "not compatible with guest memory configuration" where a file is in the way.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.errors import Problem
from planner.model.facts import Facts, WriteTracking

__all__ = ["tracking_problems"]

_TRACKABLE = ("tmpfs", "hugetlbfs", "devtmpfs", "ramfs")
"""Types of file systems whose files the kernel write-protects page by page in a process's memory."""
_CODE = "write-tracking-impossible"
_INSTEAD = "use `capture: live` or `stopped`"


def tracking_problems(facts: Facts) -> Iterator[Problem]:
    """Why the guest's memory cannot be write-protected; nothing where it can, or nobody knows."""
    if facts.write_tracking is WriteTracking.DENIED:
        yield Problem(
            _CODE,
            "vm",
            "QEMU's user may not have memory write-protected, which a background capture needs "
            "(fact 63)",
            f"{_INSTEAD}; or let that user read and write /dev/userfaultfd, or set "
            "`sysctl vm.unprivileged_userfaultfd=1`",
        )
    if facts.write_tracking is WriteTracking.LACKING:
        message = "this kernel has no userfaultfd, which a background capture needs (fact 63)"
        yield Problem(_CODE, "vm", message, _INSTEAD)
    for found in facts.objects:
        if found.filesystem and found.filesystem not in _TRACKABLE:
            yield Problem(
                _CODE,
                found.id,
                f"the guest's memory is mapped from {found.path}, a file on {found.filesystem}: the "
                "kernel cannot write-protect it, which a background capture needs (fact 63)",
                f"{_INSTEAD}; or start QEMU with memory-backend-memfd, or with a file in /dev/shm",
            )
