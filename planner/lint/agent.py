"""Findings about the guest agent's commands, which go to a socket of its own.

QEMU's monitor has none of them.  A sequence that was written down from both sockets has both kinds; of
the agent's the freezing of file systems matters to snapshots (**frozen-capture**, specs/invariants.md).
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field

from planner.lint.captures import CapturedPart
from planner.lint.moment import Moment
from planner.lint.program import Finding

__all__ = ["Freezes", "is_agents"]

_FREEZE = ("guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list")
_THAW = "guest-fsfreeze-thaw"
_RULE = "frozen-capture"


def is_agents(execute: str) -> bool:
    """Whether a command is the guest agent's."""
    return execute.startswith("guest-")


@define
class Freezes:
    """What of a sequence happened to the guest's file systems.

    Attributes:
        since: The line that froze them; 0: they are not frozen.
        spans: From which line to which they were frozen.
    """

    since: int = 0
    spans: list[tuple[int, int]] = field(factory=list)

    def take(self, at: Moment) -> Iterator[Finding]:
        """Note a command of the agent's."""
        line = at.command.line
        if at.command.refused:
            return
        if at.execute in _FREEZE:
            self.since = self.since or line
            if not at.state.running:
                yield at.finding(
                    _RULE,
                    "the guest stands: its agent does not run, and answers nothing",
                    "freeze first, then stop",
                )
        elif at.execute == _THAW and self.since:
            self.spans.append((self.since, line))
            self.since = 0
            if not at.state.running:
                yield at.finding(
                    _RULE,
                    "the guest stands: its agent does not run, and the file systems stay frozen",
                    "cont first, then thaw",
                )

    def at_the_end(self, captures: list[CapturedPart]) -> Iterator[Finding]:
        """What the whole sequence shows."""
        if self.since:
            yield Finding(
                self.since,
                _RULE,
                _FREEZE[0],
                "the file systems are frozen here and never thawed: what writes in the guest waits",
                f"send {_THAW} to the agent, also where a command between fails",
            )
        for begin, end in self.spans:
            inside = [part for part in captures if begin < part.command.line < end]
            late = [part for part in captures if part.command.line > end]
            for part in late:
                if any(part.tag == other.tag and not other.is_stream for other in inside):
                    yield Finding(
                        part.command.line,
                        _RULE,
                        part.command.execute,
                        f"{part.what} is captured after the file systems were thawed (line {end}): it "
                        "holds what the guest was just writing, as after a power cut",
                        "thaw after the last disk is captured",
                    )
