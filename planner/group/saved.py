"""A group whose run has ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from planner.errors import RunFailed
from planner.group.planning import GroupPlan
from planner.group.record import GroupRecord
from planner.run.outcome import Outcome

__all__ = ["GroupLoaded", "GroupSaved"]


@frozen
class GroupSaved:
    """A group that was saved, or is undone.

    Attributes:
        plan: What was run.
        run: The run's name.
        outcomes: How each member ended, by its name.
        manifests: Where each member's snapshot is recorded; empty: it is not made.
        failure: What it amounts to; None: it is whole and recorded.
    """

    plan: GroupPlan
    run: str
    outcomes: Mapping[str, Outcome]
    manifests: Mapping[str, Path] = field(factory=dict)
    failure: RunFailed | None = None

    @property
    def spread_us(self) -> int | None:
        """From the first guest's stop to the last one's, in microseconds, by their hosts' clocks.

        None: not all were seen to stop.
        """
        ends = self.outcomes.values()
        stops = [[at for name, at in each.events if name == "STOP"][:1] for each in ends]
        seen = [at for found in stops for at in found]
        return max(seen) - min(seen) if seen and all(stops) else None


@frozen
class GroupLoaded:
    """A group that was loaded, or not.

    Attributes:
        record: The group.
        outcomes: How each member ended, by its name.
        failure: What it amounts to; None: every member is loaded.
        kept: The group that what was there before was saved as; empty: it was not.
    """

    record: GroupRecord
    outcomes: Mapping[str, Outcome]
    failure: RunFailed | None = None
    kept: str = ""
