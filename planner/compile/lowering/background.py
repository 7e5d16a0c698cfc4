"""Design `background`: the guest runs on while its memory is written as it was (facts 39 to 42).

`stop`; `migrate` with the capability `background-snapshot`; one transaction for all disks; `cont` only
once pages are seen in the stream, for from then on QEMU holds back what the guest writes until the old
content is saved.  A `cont` before that is no error, and saves another instant (fact 40):
**tracking-before-resume**.  The stream goes on beside the guest; its end is waited for last.

The transaction stands between `migrate` and the wait, because QEMU prepares its write tracking in a
thread of its own: what the disks take costs the guest nothing then (`specs/pause.md`).
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve

from planner.compile.lowering.common import pause_guest, resume_guest
from planner.compile.lowering.stream import (
    begin_and_end,
    beside_the_capture,
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

NAME = "background"


def problems(resolution: Resolution) -> Iterator[Problem]:
    """Why this design cannot do the request; nothing where it can."""
    yield from stream_problem(NAME, Capture.BACKGROUND, resolution)


def instructions(resolution: Resolution) -> Iterator[Step]:
    """The steps that cover the request, in no order."""
    stream = stream_asked(resolution)
    begin, end = begin_and_end(stream)
    yield from beside_the_capture(resolution, stream)
    if resolution.pauses:
        yield pause_guest()
    added = (Operation(Kind.ADD_OVERLAY, disk=overlay.disk) for overlay in resolution.overlays)
    paused = (Operation(Kind.PAUSE_GUEST), *added)
    yield evolve(migrate(stream, (), WaitsFor.REPLY), precedes=(begin,), follows=paused)
    yield Step(
        execute="query-migrate",
        arguments={},
        covers=(begin,),
        waits_for=WaitsFor.TRACKING,
        undo=(Undo(UndoKind.CANCEL_MIGRATION),),
        timeout_s=stream.give_up_after_s,
    )
    yield Step(
        execute="query-migrate",
        arguments={},
        covers=(end,),
        waits_for=WaitsFor.MIGRATED,
        undo=(Undo(UndoKind.CANCEL_MIGRATION),),
        timeout_s=stream.give_up_after_s,
    )
    if resolution.resumes:
        yield resume_guest(resolution)
