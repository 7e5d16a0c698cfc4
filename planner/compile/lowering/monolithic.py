"""Design `monolithic`: one `snapshot-save` job does everything, in QEMU's own order (facts 1 to 12).

What it promises: the order inside, one instant for all parts, the guest resumed by QEMU itself.
What it does not: on a tag that only some disks have, it saves a second snapshot of that name (fact 7;
refused before it comes to that); while it works, QMP answers nothing (fact 2).
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.compile.lowering.common import (
    delete_replaced,
    internal_only,
    no_stream,
    snapshot_save,
)
from planner.compile.lowering.settings import around_vmstate
from planner.errors import Problem
from planner.program.program import Step
from planner.program.resolution import Resolution

__all__ = ["NAME", "instructions", "problems"]

NAME = "monolithic"


def problems(resolution: Resolution) -> Iterator[Problem]:
    """Why this design cannot do the request; nothing where it can."""
    yield from internal_only(NAME, resolution)
    yield from no_stream(NAME, resolution)
    if not resolution.has_machine_state:
        yield Problem(
            "design-cannot",
            "machine-state",
            "snapshot-save always saves machine state, and the request asks for none",
            "use design transactional",
        )
    if resolution.run_state_after is not resolution.run_state_before:
        yield Problem(
            "design-cannot",
            "run-state-after",
            f"snapshot-save leaves the VM {resolution.run_state_before} as it was, and the request "
            f"asks for {resolution.run_state_after}",
            "use design transactional",
        )


def instructions(resolution: Resolution) -> Iterator[Step]:
    """The steps that cover the request, in no order."""
    yield from around_vmstate(resolution)
    yield from delete_replaced(resolution)
    yield snapshot_save(resolution, resolution.internal, pauses=resolution.pauses)
