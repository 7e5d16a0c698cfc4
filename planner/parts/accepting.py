"""What somebody has said may differ, so that a load goes on all the same.

Only what QEMU loads without harm to the parts can be accepted: another processor, and what disks and
drives hold that were left out of the snapshot.  What would end the load half way never can.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import frozen

from planner.errors import Problem

__all__ = [
    "CPU_DIFFERS",
    "LEFT_OUT_CHANGED",
    "NOTHING_ACCEPTED",
    "VM_DIFFERS",
    "Accepted",
    "not_accepted",
]

CPU_DIFFERS = "cpu-differs"
LEFT_OUT_CHANGED = "left-out-changed"
VM_DIFFERS = "vm-differs"


@frozen
class Accepted:
    """What may differ.

    Attributes:
        cpu: Whether the processor may be another one.
        changed: Disks and drives, by the names that a manifest has, whose content may have changed.
        renamed: Whether the VM may have another UUID or name: its command line gives it one of its own.
    """

    cpu: bool = False
    changed: frozenset[str] = frozenset()
    renamed: bool = False


NOTHING_ACCEPTED = Accepted()


def not_accepted(problems: Iterable[Problem], accepted: Accepted) -> Iterator[Problem]:
    """The problems that nobody has accepted."""
    for problem in problems:
        of_cpu = problem.code == CPU_DIFFERS and accepted.cpu
        of_disk = problem.code == LEFT_OUT_CHANGED and problem.subject in accepted.changed
        of_name = problem.code == VM_DIFFERS and accepted.renamed
        if not (of_cpu or of_disk or of_name):
            yield problem
