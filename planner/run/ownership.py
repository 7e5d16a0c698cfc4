"""Which snapshots on the VM are this run's own, so that undo deletes these and no others.

Other QMP clients exist, and may make a snapshot of the very same tag between the facts and a step.
Undo deletes by id and name, and only what is provably ours:

- an id that was there before the run is never ours;
- a step that QEMU refused, or that was never sent, made nothing;
- an applied or refused-late job made only what is dated at or after QEMU's own event that created
  the job (both times are QEMU's host clock);
- a transaction is all or nothing: after an unknown outcome, its parts are ours only if all its disks
  have one new snapshot of the tag.

What remains unclear is reported and left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from attrs import frozen

from planner.errors import Problem
from planner.model.facts import SnapshotInfo

__all__ = ["StepOutcome", "CaptureStep", "FoundParts", "find_own"]

_NS_PER_US = 1000


class StepOutcome(StrEnum):
    """What is known of a step that captures parts."""

    APPLIED = "applied"
    FAILED = "failed"
    UNKNOWN = "unknown"


@frozen
class CaptureStep:
    """A capturing step that was sent.

    Attributes:
        disks: The disks that it snapshots.
        attempt: What is known of it.
        atomic: Whether it does all or nothing.
        since_us: QEMU's clock at a moment between the baseline and its first effect; 0: none known.
        host_us: The same by this machine's clock, where QEMU runs here; 0 elsewhere.  Used for images
            of a QEMU that is gone only: what a living peer dates by another clock stays its own.
    """

    disks: tuple[str, ...]
    attempt: StepOutcome
    atomic: bool
    since_us: int = 0
    host_us: int = 0

    @property
    def known(self) -> bool:
        """Whether it is known how the step ended."""
        return self.attempt is not StepOutcome.UNKNOWN


@frozen
class FoundParts:
    """What a look at the VM shows.

    Attributes:
        own: This run's snapshots, by disk.
        unclear: New snapshots of the tag that may or may not be this run's.
    """

    own: Mapping[str, SnapshotInfo]
    unclear: tuple[Problem, ...] = ()


def find_own(
    captures: tuple[CaptureStep, ...],
    fresh: Mapping[str, tuple[SnapshotInfo, ...]],
) -> FoundParts:
    """Tell this run's snapshots from others of the same tag.

    Args:
        captures: The capturing steps that were sent, in order.
        fresh: By disk, the snapshots of the tag whose ids were not there before the run.
    """
    own: dict[str, SnapshotInfo] = {}
    unclear: list[Problem] = []
    for capture in captures:
        if capture.atomic and not _made_all(capture, fresh):
            continue
        for disk in capture.disks:
            candidates = [s for s in fresh.get(disk, ()) if _may_be_own(s, capture)]
            if len(candidates) == 1:
                own[disk] = candidates[0]
            elif candidates:
                unclear.append(_unclear(disk, candidates))
    return FoundParts(own, tuple(unclear))


def _made_all(capture: CaptureStep, fresh: Mapping[str, tuple[SnapshotInfo, ...]]) -> bool:
    if capture.attempt is StepOutcome.FAILED:
        return False
    return capture.attempt is StepOutcome.APPLIED or all(fresh.get(disk) for disk in capture.disks)


def _may_be_own(snapshot: SnapshotInfo, capture: CaptureStep) -> bool:
    return snapshot.date_ns // _NS_PER_US >= capture.since_us


def _unclear(disk: str, candidates: list[SnapshotInfo]) -> Problem:
    ids = ", ".join(snapshot.id for snapshot in candidates)
    return Problem(
        "ownership-unclear",
        disk,
        f"snapshots {ids} of this tag appeared during the run, and not all are of this run",
        "look at their dates, and delete by id the one that is not wanted",
    )
