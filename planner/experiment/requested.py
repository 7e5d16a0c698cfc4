"""What is snapshotted in a case: a VM's disks by name, and the request for all of them."""

from __future__ import annotations

from planner.model.request_text import ReadRequest, request_from_plain
from planner.model.text import Document

__all__ = ["disk_names", "request_of"]

_TAG = "experiment"


def disk_names(count: int) -> tuple[str, ...]:
    """The names of so many disks."""
    return tuple(f"disk{number}" for number in range(count))


def request_of(disks: int, machine_state: object = None) -> ReadRequest:
    """All disks internal.

    Args:
        disks: How many there are.
        machine_state: As a request file has it; None: inside the first disk.
    """
    names = disk_names(disks)
    plain = {
        "tag": _TAG,
        "machine-state": machine_state or {"internal": names[0]},
        "disks": dict.fromkeys(names, "internal"),
    }
    return request_from_plain(Document(plain))
