"""What a design does in the pause, and what was asked of that, for a person and for programs."""

from __future__ import annotations

from collections.abc import Iterator

from planner.explore.back_search import BackReport
from planner.explore.limits import NO_LIMITS, InPause, Limits
from planner.explore.pause_work import PauseWork, pause_work
from planner.explore.search import SearchReport
from planner.explore.standing import IN_PAUSE_SAID

__all__ = [
    "limits_lines",
    "limits_to_plain",
    "limits_words",
    "pause_lines",
    "pause_to_plain",
]


def _work_of(report: SearchReport | BackReport) -> PauseWork | None:
    """What a save does in the pause; None: of no run, or of a load or a delete, is that known."""
    if isinstance(report, BackReport) or not report.example:
        return None
    return pause_work(report.setting, report.example)


def pause_lines(report: SearchReport | BackReport) -> Iterator[str]:
    """What is done in the pause, and when the monitor is silent."""
    work = _work_of(report)
    if work is None:
        return
    disks = work.disks + work.in_transaction
    if work.stands:
        said = (
            f"{IN_PAUSE_SAID[work.memory]}; disks captured: {disks}; commands sent: {work.commands}"
        )
        yield f"  in the pause   {said}"
    for name in work.silent:
        yield f"  monitor        answers nothing while {name} writes the memory (fact 2)"


def pause_to_plain(report: SearchReport | BackReport) -> dict[str, object] | None:
    """The same as plain values; None: no run is done, or it is no save."""
    work = _work_of(report)
    if work is None:
        return None
    return {
        "memory": work.memory.value,
        "disks": work.disks + work.in_transaction,
        "commands": work.commands,
        "silent": list(work.silent),
    }


def _limits_of(report: SearchReport | BackReport) -> Limits:
    """What was asked of the pause; of a load or a delete nothing can be."""
    return NO_LIMITS if isinstance(report, BackReport) else report.setting.limits


def limits_words(report: SearchReport | BackReport) -> str:
    """What was asked of the pause, for the verdict's line; empty: nothing."""
    limits = _limits_of(report)
    pause = (
        f", pause at most {limits.pause_at_most.value}" if limits.pause_at_most in _AT_MOST else ""
    )
    return pause + (", monitor answers" if limits.monitor_answers else "")


_AT_MOST = {
    InPause.NOTHING: "nothing of the memory is written or protected",
    InPause.TRACKING: "the memory is write-protected at most",
    InPause.REST: "what is left of the memory is written at most",
}


def limits_lines(report: SearchReport | BackReport) -> Iterator[str]:
    """What was asked of the pause."""
    limits = _limits_of(report)
    if limits.pause_at_most in _AT_MOST:
        yield f"  asked for      in the pause {_AT_MOST[limits.pause_at_most]}"
    if limits.monitor_answers:
        yield "  asked for      the monitor answers while machine state is written"


def limits_to_plain(report: SearchReport | BackReport) -> dict[str, object]:
    """The same as plain values."""
    limits = _limits_of(report)
    return {
        "pause-at-most": limits.pause_at_most.value,
        "monitor-answers": limits.monitor_answers,
    }
