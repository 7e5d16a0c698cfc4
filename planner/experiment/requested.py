"""What is snapshotted in a case: a VM's disks by name, and the request for all of them."""

from __future__ import annotations

from planner.compare.request_per_design import adapt
from planner.model.facts import Facts
from planner.model.request_text import ReadRequest, request_from_plain
from planner.model.text import Document

__all__ = ["TAG", "disk_names", "request_as", "request_of"]

TAG = "experiment"
"""The tag of the snapshot that a case is about."""


def disk_names(count: int) -> tuple[str, ...]:
    """The names of so many disks."""
    return tuple(f"disk{number}" for number in range(count))


def request_of(disks: int, machine_state: object = None, tag: str = TAG) -> ReadRequest:
    """All disks internal.

    Args:
        disks: How many there are.
        machine_state: As a request file has it; None: inside the first disk.
        tag: The snapshot's tag.
    """
    names = disk_names(disks)
    plain = {
        "tag": tag,
        "machine-state": machine_state or {"internal": names[0]},
        "disks": dict.fromkeys(names, "internal"),
    }
    return request_from_plain(Document(plain))


def request_as(design: str, disks: int, facts: Facts) -> ReadRequest:
    """The same with the machine state where a design can put it: beside the first disk, if in a file."""
    return adapt(request_of(disks), facts, design).read
