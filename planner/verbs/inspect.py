"""Inspect: asks a VM what it is, and says what each disk can do.  Changes nothing."""

from __future__ import annotations

from planner.inspect.inspecting import Inspection, inspection_of
from planner.run.pump import ask_facts
from planner.verbs.context import Context

__all__ = ["inspect"]


async def inspect(context: Context) -> Inspection:
    """Ask a VM what it is: version, run state, disks with what they hold, devices.

    Raises:
        CannotConnect: It does not answer, or not in the shape that QMP says.
    """
    return inspection_of(await ask_facts(context.backend))
