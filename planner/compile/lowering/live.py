"""Design `live`: memory is copied while the guest runs; the instant is the end of the copy (fact 30).

With `pause-before-switchover`, QEMU stops the guest when little is left to copy, and waits there with
the nodes still active: that is where one transaction captures the disks.  `migrate-continue` then
writes the rest, and `cont` lets the guest run again.  A guest that writes faster than it is copied
never gets there; `auto-converge` slows it down, or the run is given up.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.compile.lowering.common import resume_guest
from planner.compile.lowering.stream import (
    begin_and_end,
    beside_the_capture,
    end_flushing,
    migrate,
    stream_asked,
    stream_problem,
)
from planner.errors import Problem
from planner.model.operations import Kind, Operation
from planner.model.request import Capture
from planner.program.program import Step, Undo, UndoKind, WaitsFor
from planner.program.resolution import Resolution

__all__ = ["NAME", "instructions", "problems"]

NAME = "live"


def problems(resolution: Resolution) -> Iterator[Problem]:
    """Why this design cannot do the request; nothing where it can."""
    yield from stream_problem(NAME, Capture.LIVE, resolution)


def instructions(resolution: Resolution) -> Iterator[Step]:
    """The steps that cover the request, in no order."""
    stream = stream_asked(resolution)
    begin, end = begin_and_end(stream)
    yield from beside_the_capture(resolution, stream)
    yield migrate(stream, (begin, Operation(Kind.PAUSE_GUEST)), WaitsFor.SWITCHOVER)
    yield end_flushing(stream)
    yield Step(
        execute="migrate-continue",
        arguments={"state": "pre-switchover"},
        covers=(end,),
        waits_for=WaitsFor.MIGRATED,
        undo=(Undo(UndoKind.CANCEL_MIGRATION),),
        timeout_s=stream.give_up_after_s,
    )
    if resolution.resumes:
        yield resume_guest(resolution)
