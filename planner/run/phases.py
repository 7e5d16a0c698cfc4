"""The phases of a run and the only ways between them.

    READY -> STEPPING -> CONFIRMING -> DONE
                |            |
                v            v
            INSPECTING -> UNDOING -> RESTORING -> UNDONE | INCOMPLETE
                |
                v
             UNKNOWN

`INSPECTING` comes before anything is undone, always: what a failed step left is asked of the VM, never
assumed.  An end has no way out.
"""

from __future__ import annotations

from enum import StrEnum

from planner.errors import InternalError

__all__ = ["ENDS", "TRANSITIONS", "Phase", "check_transition"]


class Phase(StrEnum):
    """Where a run is."""

    READY = "ready"
    STEPPING = "stepping"
    CONFIRMING = "confirming"
    INSPECTING = "inspecting"
    UNDOING = "undoing"
    RESTORING = "restoring"
    DONE = "done"
    UNDONE = "undone"
    INCOMPLETE = "incomplete"
    UNKNOWN = "unknown"


TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.READY: frozenset({Phase.STEPPING}),
    Phase.STEPPING: frozenset({Phase.CONFIRMING, Phase.INSPECTING}),
    Phase.CONFIRMING: frozenset({Phase.DONE, Phase.INSPECTING}),
    Phase.INSPECTING: frozenset({Phase.UNDOING, Phase.UNKNOWN}),
    Phase.UNDOING: frozenset({Phase.INSPECTING, Phase.RESTORING, Phase.UNKNOWN}),
    Phase.RESTORING: frozenset({Phase.UNDONE, Phase.INCOMPLETE, Phase.UNKNOWN}),
    Phase.DONE: frozenset(),
    Phase.UNDONE: frozenset(),
    Phase.INCOMPLETE: frozenset(),
    Phase.UNKNOWN: frozenset(),
}

ENDS = frozenset(phase for phase, ways in TRANSITIONS.items() if not ways)


def check_transition(old: Phase, new: Phase) -> None:
    """Refuse a way that is not in the table.

    Raises:
        InternalError: There is no such way.
    """
    if new not in TRANSITIONS[old]:
        raise InternalError(f"a run cannot go from {old} to {new}", code="illegal-transition")
