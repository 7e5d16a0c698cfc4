"""What a failed `snapshot-load` has done to the disks: read from QEMU's own words, at their worst.

Theory: QEMU checks (nothing is touched), reverts the disks in the order in which they were named, then
resets the machine and reads its state; it stops at the first thing that fails and takes nothing back
(facts 18 and 20).  Only the job's error says how far it came.  Words that are not known are taken for
the worst, never for the best: nothing can be asked of QEMU that tells a reverted disk from another.
"""

from __future__ import annotations

import re

from attrs import frozen

from planner.errors import Problem
from planner.load.load_checks import LoadPlan

__all__ = ["UNTOUCHED", "RevertedDisks", "everything_perhaps", "read_failure"]

# [src] migration/savevm.c, load_snapshot: said before any disk is touched.
_CHECKS = tuple(
    re.compile(words)
    for words in (
        r"Snapshot '.*' does not exist in one or more devices",
        r"Device '.*' is writable but does not support snapshots",
        r"No block device node '.*'",
        r"vmstate block device '.*' does not exist",
        r"This is a disk-only snapshot\..*",
        r"At least one device is required for snapshot",
        r"[Nn]o block device .* snapshots?",
        r"Device '.*' does not have the requested snapshot '.*'",
        r"Snapshots are not compatible with .*",
    )
)
# Said when every disk is reverted, and a section of the machine state does not fit.
_AT_THE_MACHINE = tuple(
    re.compile(words, re.DOTALL)
    for words in (
        r"Error -\d+ while loading VM state.*",
        r"error while loading state .*",
        r"Unknown (savevm )?section or instance .*",
        r"post load hook failed for: .*",
    )
)
_AT_A_DISK = re.compile(
    r"Could not load snapshot '.*' on '(?P<name>[^']*)': (?P<why>.*)", re.DOTALL
)
# [src] block/snapshot.c, bdrv_snapshot_goto: said of a disk before it is touched.
_DISK_UNTOUCHED = ("Device has active dirty bitmaps",)


@frozen
class RevertedDisks:
    """Which disks hold what they held when the snapshot was made, and no longer what came after.

    Attributes:
        surely: Disks that were reverted.
        perhaps: Disks of which nobody can tell.
        machine_lost: Whether the guest's memory may be gone as well.
    """

    surely: tuple[str, ...] = ()
    perhaps: tuple[str, ...] = ()
    machine_lost: bool = False

    @property
    def nothing(self) -> bool:
        """Whether all is as before the load."""
        return not (self.surely or self.perhaps or self.machine_lost)

    def problems(self, order: LoadPlan) -> tuple[Problem, ...]:
        """The truth about each disk."""
        if self.nothing:
            return ()
        back = f"snapplan load {order.way_back}" if order.way_back else "load a complete snapshot"
        found = []
        for part in order.parts:
            if part.disk in self.surely:
                words = f"it was reverted to {order.tag!r}"
                found.append(Problem("disk-reverted", part.disk, words, back))
            elif part.disk in self.perhaps:
                words = f"it may have been reverted to {order.tag!r}; QEMU does not say"
                found.append(Problem("disk-reverted", part.disk, words, back))
            else:
                words = "it was not reverted: it holds what it held before the load"
                found.append(Problem("disk-not-reverted", part.disk, words))
        if self.machine_lost:
            words = "the guest's memory may be that of neither; do not let it run"
            found.append(Problem("machine-state-lost", "vm", words, back))
        return tuple(found)


UNTOUCHED = RevertedDisks()


def everything_perhaps(order: LoadPlan) -> RevertedDisks:
    """What has to be taken for true where nothing is known."""
    return RevertedDisks(perhaps=tuple(part.disk for part in order.parts), machine_lost=True)


def read_failure(error: str, order: LoadPlan) -> RevertedDisks:
    """What a load that failed with these words has done."""
    if any(words.fullmatch(error) for words in _CHECKS):
        return UNTOUCHED
    if any(words.fullmatch(error) for words in _AT_THE_MACHINE):
        return RevertedDisks(surely=tuple(part.disk for part in order.parts), machine_lost=True)
    at_a_disk = _AT_A_DISK.fullmatch(error)
    if at_a_disk is not None:
        return _up_to(at_a_disk["name"], at_a_disk["why"], order)
    # The disks come before the machine state, so all of them are reverted by now; but words that
    # nobody has seen yet may also be a check's.
    return everything_perhaps(order)


def _up_to(name: str, why: str, order: LoadPlan) -> RevertedDisks:
    if order.image is not None and name == order.image.node:
        return UNTOUCHED  # it goes first, and is no disk of the guest's
    places = [number for number, part in enumerate(order.parts) if name in part.names]
    if len(places) != 1:
        return everything_perhaps(order)
    before = tuple(part.disk for part in order.parts[: places[0]])
    untouched = why.strip() in _DISK_UNTOUCHED
    return RevertedDisks(before, () if untouched else (order.parts[places[0]].disk,))
