"""What can be asked of a design beside its properties: how much is done while the guest stands still.

No time is in it, only the work.  Nothing is asked unless somebody asks: what a design writes in the
pause is what it is, and whether that is too much is for whoever has to live with it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from attrs import frozen

__all__ = ["LIMIT_OPTIONS", "NO_LIMITS", "InPause", "Limits", "LimitsBroken"]

LIMIT_OPTIONS = {"pause-within": "--pause-at-most", "monitor-answers": "--monitor-answers"}
"""The properties that are judged only where they are asked, each with the option that asks it."""


class InPause(StrEnum):
    """What of the memory is written while the guest stands still, the least first."""

    NOTHING = "nothing"
    TRACKING = "tracking"
    """Nothing, but it is write-protected."""
    REST = "rest"
    """What a live migration has left at its downtime limit."""
    ALL = "all"

    @property
    def rank(self) -> int:
        """Its place in their order: more is a longer pause."""
        return list(InPause).index(self)


@frozen
class Limits:
    """What is asked.

    Attributes:
        pause_at_most: How much of the memory may be written in the pause; all: nothing is asked.
        monitor_answers: Whether QEMU's monitor has to answer while machine state is written.
    """

    pause_at_most: InPause = InPause.ALL
    monitor_answers: bool = False

    @property
    def asked(self) -> tuple[str, ...]:
        """The ids of the properties that are judged for it."""
        pause = self.pause_at_most is not InPause.ALL
        chosen = zip(LIMIT_OPTIONS, (pause, self.monitor_answers), strict=True)
        return tuple(property_id for property_id, is_asked in chosen if is_asked)


NO_LIMITS = Limits()
"""Nothing is asked."""


class LimitsBroken(NamedTuple):
    """The first instruction that breaks each limit, in one run.

    Attributes:
        paused: One more than the number of that which writes too much in the pause; 0: none does.
        written: The rank of what it writes.
        silent: One more than the number of that during which the monitor is silent; 0: none is.
    """

    paused: int = 0
    written: int = 0
    silent: int = 0
