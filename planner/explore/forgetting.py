"""What a run that is being undone asks for no more, and a search therefore forgets.

Once the client looks at what was left, no command is sent any more.  Undo asks what is known of the
commands that made or deleted snapshots, and of no other; not how far the run had come; and not of which
instant a copy would have been that no job completes.

Theory: states that differ only in what no later move and no property reads have the same future, so
a violation is reachable from one exactly if it is from the other, in as many moves.
"""

from __future__ import annotations

from planner.explore.state import Attempt, ClientPhase, CopyState, Setting, State
from planner.model.operations import Kind

__all__ = ["Forgetting"]

_ASKED = frozenset({Kind.SNAPSHOT_DISK, Kind.DELETE_DISK_SNAPSHOT})
_UNDONE = frozenset({ClientPhase.LOOKING, ClientPhase.UNDOING, ClientPhase.OFFLINE})


class Forgetting:
    """What is forgotten in one setting."""

    def __init__(self, setting: Setting) -> None:
        self._asked = tuple(bool(_ASKED & each.kinds) for each in setting.instructions)

    def forgotten(self, state: State) -> State:
        """The state without what nothing asks for any more."""
        if state.phase not in _UNDONE:
            return state
        attempts = tuple(
            attempt if asked else Attempt.NOT_SENT
            for attempt, asked in zip(state.attempts, self._asked, strict=True)
        )
        return state._replace(at=0, attempts=attempts, copy=_of_whole(state.copy))


def _of_whole(copy: CopyState) -> CopyState:
    if not copy.of:
        return copy
    of = tuple(instant * (copy.whole >> disk & 1) for disk, instant in enumerate(copy.of))
    return copy._replace(of=of)
