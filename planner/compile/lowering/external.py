"""Design `external`: the guest stands still while the machine state is written to a file (fact 29).

`stop`; one transaction for all disks; `migrate`; `cont`.  The disks come first, because the nodes are
inactive once the migration is complete, and a snapshot would be refused with words about the format;
`cont` makes them active again.  Simple, the same on every QEMU, and the longest pause.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.compile.lowering.common import pause_guest, resume_guest
from planner.compile.lowering.stream import (
    begin_and_end,
    beside_the_capture,
    migrate,
    stream_asked,
    stream_problem,
)
from planner.errors import Problem
from planner.model.request import Capture
from planner.program.program import Step, WaitsFor
from planner.program.resolution import Resolution

__all__ = ["NAME", "instructions", "problems"]

NAME = "external"


def problems(resolution: Resolution) -> Iterator[Problem]:
    """Why this design cannot do the request; nothing where it can."""
    yield from stream_problem(NAME, Capture.STOPPED, resolution)


def instructions(resolution: Resolution) -> Iterator[Step]:
    """The steps that cover the request, in no order."""
    stream = stream_asked(resolution)
    begin, end = begin_and_end(stream)
    yield from beside_the_capture(resolution, stream)
    if resolution.pauses:
        yield pause_guest()
    yield migrate(stream, (begin, end), WaitsFor.MIGRATED)
    if resolution.resumes:
        yield resume_guest(resolution)
