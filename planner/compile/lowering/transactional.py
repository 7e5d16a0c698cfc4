"""Design `transactional`: small commands, tied together here (facts 13 to 15, 24 and 25).

The machine-state step is a `snapshot-save` over the vmstate disk alone: it keeps QEMU's order inside
qcow2 (write the vmstate, snapshot, discard) where a transaction would not.  All other disks are
captured by one transaction, internal snapshots and overlays mixed (fact 14), which is atomic and
promises no order, so it may cover no two operations that a rule orders.  The pause around both makes
the parts one instant.

Without machine state there is no pause: the transaction drains all its disks together, which is one
cut across them.  The guest agent can freeze the file systems around it.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.compile.lowering.common import (
    capture_disks,
    delete_replaced,
    finish_parts,
    no_stream,
    pause_guest,
    prepare_parts,
    resume_guest,
    snapshot_save,
)
from planner.compile.lowering.freezing import freeze_and_thaw
from planner.compile.lowering.settings import around_vmstate
from planner.errors import Problem
from planner.program.program import Step
from planner.program.resolution import Resolution

__all__ = ["NAME", "instructions", "problems"]

NAME = "transactional"


def problems(resolution: Resolution) -> Iterator[Problem]:
    """Why this design cannot do the request; nothing where it can."""
    yield from no_stream(NAME, resolution)


def instructions(resolution: Resolution) -> Iterator[Step]:
    """The steps that cover the request, in no order."""
    yield from around_vmstate(resolution)
    yield from delete_replaced(resolution)
    holders = tuple(part for part in resolution.internal if part.disk == resolution.vmstate)
    if resolution.pauses:
        yield pause_guest()
    if holders:
        yield snapshot_save(resolution, holders, pauses=False)
    yield from prepare_parts(resolution)
    yield from freeze_and_thaw(resolution)
    yield from capture_disks(resolution, but=(resolution.vmstate,))
    yield from finish_parts(resolution)
    if resolution.resumes:
        yield resume_guest(resolution)
