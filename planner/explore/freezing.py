"""The guest's file systems, frozen by its agent around the capture, and thawed.

While they are frozen the guest runs and writes to no disk.  The agent is a program in the guest: it
answers only while the guest runs.

Rules: pure; a function gives a new state, or None where the agent does not answer.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.explore.state import Act, Action, Setting, State
from planner.model.operations import CAPTURES, Kind

__all__ = ["FREEZING_KINDS", "captured", "frozen_or_thawed", "thaw_in_undo"]

FREEZING_KINDS = frozenset({Kind.FREEZE_FILESYSTEMS, Kind.THAW_FILESYSTEMS})


def frozen_or_thawed(state: State, kind: Kind) -> State | None:
    """Freeze or thaw; None: nobody answers, or they are frozen already."""
    freezes = kind is Kind.FREEZE_FILESYSTEMS
    if not state.running or (freezes and state.frozen):
        return None
    return state._replace(frozen=freezes)


def captured(setting: Setting, state: State, kind: Kind) -> State:
    """Note that something was captured while the file systems were not frozen."""
    if kind not in CAPTURES or kind is Kind.WRITE_VMSTATE or state.frozen or not setting.freezes:
        return state
    return state._replace(unfrozen=True)


def thaw_in_undo(setting: Setting, state: State) -> Iterator[tuple[Action, State]]:
    """The thaw that is owed comes first in undo: with the guest paused, it has to run for that."""
    left = state.left >> setting.thaw_left & 1
    if not state.frozen or left or "thaw" not in setting.undo:
        return
    yield Action(Act.THAW), state._replace(frozen=False, running=True, sent_cont=True)
    if state.budget:
        refused = state._replace(left=state.left | 1 << setting.thaw_left, budget=state.budget - 1)
        yield Action(Act.UNDO_REFUSED, Act.THAW), refused
