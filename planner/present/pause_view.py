"""What a design does while the guest stands still, for a person and for programs."""

from __future__ import annotations

from collections.abc import Iterator

from planner.explore.back_search import BackReport
from planner.explore.pause_work import InPause, PauseWork, pause_work
from planner.explore.search import SearchReport

__all__ = ["pause_lines", "pause_to_plain"]


def _work_of(report: SearchReport | BackReport) -> PauseWork | None:
    """What a save does in the pause; None: of no run, or of a load or a delete, is that known."""
    if isinstance(report, BackReport) or not report.example:
        return None
    return pause_work(report.setting, report.example)


_MEMORY = {
    InPause.NOTHING: "no memory is written",
    InPause.ALL: "all of the memory is written",
    InPause.REST: "what is left of the memory is written",
    InPause.TRACKING: "the memory is write-protected",
}


def pause_lines(report: SearchReport | BackReport) -> Iterator[str]:
    """What is done in the pause, and when the monitor is silent."""
    work = _work_of(report)
    if work is None:
        return
    disks = work.disks + work.in_transaction
    if work.stands:
        said = f"{_MEMORY[work.memory]}; disks captured: {disks}; commands sent: {work.commands}"
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
