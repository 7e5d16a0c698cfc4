"""How long a step may take, and how long it took, by whatever clock its user has."""

from __future__ import annotations

from attrs import define

__all__ = ["Deadline"]


@define
class Deadline:
    """The time of one step; seconds of a clock that only goes forward.

    Attributes:
        begun: When its command was sent.
        until: When it has to be done.
    """

    begun: float = 0.0
    until: float = 0.0

    def start(self, now: float, within_s: float) -> None:
        """A command is sent now, and may take so long."""
        self.begun, self.until = now, now + within_s

    def passed(self, now: float) -> str:
        """That it is over, with the time that the step took: not the time of the last wait."""
        return f"it had not ended {now - self.begun:.3g} s after its command"
