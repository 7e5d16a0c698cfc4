"""How long a guest may stand still in a run, and what is held back once it has stood for longer."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define

from planner.run.actions import Action, NotSent, Send, Tell
from planner.run.ports import Event

__all__ = ["PauseBudget"]


@define
class PauseBudget:
    """The longest pause that a run may have, by whatever clock its user has.

    Attributes:
        budget_ms: In milliseconds; None: as long as it takes.
        stopped_at: When the guest was seen to stop, in seconds; None: it runs.
    """

    budget_ms: float | None = None
    stopped_at: float | None = None

    def note(self, events: Sequence[Event], now: float) -> None:
        """Note what QEMU has said up to now."""
        for event in events:
            if event.name == "STOP":
                self.stopped_at = now
            elif event.name == "RESUME":
                self.stopped_at = None

    def over(self, action: Action, now: float) -> NotSent | None:
        """What to say in place of an action when the guest has stood still for too long.

        A `cont` is never withheld: it ends the pause, and with it everything that the pause is for.
        """
        if self.budget_ms is None or self.stopped_at is None:
            return None
        if isinstance(action, Tell) or (isinstance(action, Send) and action.command == "cont"):
            return None
        stood_ms = (now - self.stopped_at) * 1000
        if stood_ms <= self.budget_ms:
            return None
        return NotSent(
            "pause-budget-exceeded",
            f"the guest has stood still for {stood_ms:.0f} ms, and {self.budget_ms:g} ms are "
            "allowed (--pause-budget)",
        )
