"""What must hold of a load and of a delete, each with an id, and how a violation is told.

What is judged is the design, not how honest its client is: a switch that failed and left two disks
reverted is a violation also where the client says so.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from planner.explore.acts import ClientPhase
from planner.explore.back import BackSetting, BackState, Memory, Purpose

__all__ = ["BACK_PROPERTY_IDS", "BackProperty", "back_properties"]

_NAMES = {
    Memory.BEFORE: "as before",
    Memory.SAVED: "as saved",
    Memory.FRESH: "reset",
    Memory.BROKEN: "read in part",
}


@frozen
class BackProperty:
    """A property.

    Attributes:
        id: Stable identifier.
        means: What holds, in a clause.
        broken: From a setting and the end of a run to why it does not hold; empty where it does.
    """

    id: str
    means: str
    broken: Callable[[BackSetting, BackState], str]


def _disks(setting: BackSetting, mask: int) -> str:
    return ", ".join(name for number, name in enumerate(setting.disks) if mask >> number & 1)


def _is(setting: BackSetting, state: BackState) -> str:
    reverted = _disks(setting, state.saved) or "no disk"
    return f"reverted: {reverted}; memory is {_NAMES[Memory(state.memory)]}"


def _whole_before(state: BackState) -> bool:
    return state.saved == 0 and state.memory == Memory.BEFORE


def _whole_after(setting: BackSetting, state: BackState) -> bool:
    memory = Memory.FRESH if setting.resets else Memory.SAVED
    return state.saved == setting.whole and state.memory == memory


def _done(state: BackState) -> bool:
    return state.phase == ClientPhase.DONE


def _unstruck(setting: BackSetting, state: BackState) -> bool:
    return state.budget == setting.faults


def _never_mixed(_: BackSetting, state: BackState) -> str:
    if not state.mixed:
        return ""
    return "the guest ran on disks and memory that were never there at one instant"


def _switched(setting: BackSetting, state: BackState) -> str:
    if not _done(state):
        failed = "nothing went wrong outside, and the run failed all the same"
        return failed if _unstruck(setting, state) else ""
    return "" if _whole_after(setting, state) else f"the run is done, and {_is(setting, state)}"


def _failure_keeps(setting: BackSetting, state: BackState) -> str:
    if _done(state) or state.dead or _whole_before(state) or _whole_after(setting, state):
        return ""
    return f"the switch failed, and what was there is not: {_is(setting, state)}"


def _way_back(setting: BackSetting, state: BackState) -> str:
    before = state.saved == 0 and (state.dead or state.memory == Memory.BEFORE)
    after = _whole_after(setting, state) and not state.dead
    if before or after or state.held == setting.whole:
        return ""
    gone = _disks(setting, setting.whole & ~state.held)
    return f"no whole instant can be reached any more: {_is(setting, state)}; no snapshot on {gone}"


def _snapshots_intact(setting: BackSetting, state: BackState) -> str:
    if state.harmed:
        where = _disks(setting, state.harmed)
        return f"the snapshot that another client made on {where} is gone"
    deletes = any("DeleteDiskSnapshot" in instruction.kinds for instruction in setting.instructions)
    if state.held != setting.whole and not deletes:
        return "the snapshot itself is gone"
    return ""


def _run_state(setting: BackSetting, state: BackState) -> str:
    torn = not (_whole_before(state) or _whole_after(setting, state))
    if state.dead or state.running is setting.runs_before:
        return ""
    if setting.purpose is Purpose.LOAD and torn and not _done(state):
        return ""  # to let it run would be worse
    return "the guest runs and should not" if state.running else "the guest is left paused"


def _deleted(setting: BackSetting, state: BackState) -> str:
    if _done(state):
        return f"the run is done, and {_disks(setting, state.held)} holds it" if state.held else ""
    failed = "nothing went wrong outside, and the run failed all the same"
    return failed if _unstruck(setting, state) else ""


def _all_or_none(setting: BackSetting, state: BackState) -> str:
    if state.dead or state.held in (0, setting.whole):
        return ""
    kept = _disks(setting, state.held)
    return f"half a snapshot is left: {kept} holds it, the others do not, and no load can use it"


_RUN_STATE = BackProperty(
    "run-state-restored",
    "the guest runs, or not, as before, unless that would be on two instants",
    _run_state,
)
_INTACT = BackProperty(
    "old-intact", "nobody else's snapshot is harmed, nor the one that is loaded", _snapshots_intact
)
_LOAD = (
    BackProperty(
        "never-two-instants",
        "the guest never runs on disks or memory of two instants",
        _never_mixed,
    ),
    BackProperty("complete", "a switch that is done is whole; an unstruck run succeeds", _switched),
    BackProperty(
        "failure-keeps",
        "a switch that fails, with QEMU alive, leaves what was there",
        _failure_keeps,
    ),
    BackProperty(
        "way-back",
        "whatever happened, one whole instant can be reached: the one before or the saved one",
        _way_back,
    ),
    _INTACT,
    _RUN_STATE,
)
_DELETE = (
    BackProperty(
        "complete", "a delete that is done left no part; an unstruck run succeeds", _deleted
    ),
    BackProperty("atomic", "with QEMU alive, the snapshot is there whole, or gone", _all_or_none),
    _INTACT,
    _RUN_STATE,
)
BACK_PROPERTY_IDS = tuple(dict.fromkeys(found.id for found in (*_LOAD, *_DELETE)))


def back_properties(purpose: Purpose) -> tuple[BackProperty, ...]:
    """The properties of a load, or of a delete."""
    return _LOAD if purpose is Purpose.LOAD else _DELETE
