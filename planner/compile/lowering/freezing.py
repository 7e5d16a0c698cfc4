"""The two steps of the guest agent: file systems frozen before the capture, thawed after it."""

from __future__ import annotations

from collections.abc import Iterator

from planner.model.operations import Kind, Operation
from planner.program.program import Step, Target, Undo, UndoKind
from planner.program.resolution import Resolution

__all__ = ["freeze_and_thaw"]


def freeze_and_thaw(resolution: Resolution) -> Iterator[Step]:
    """Have the agent freeze and thaw, where that was asked for.  The guest runs all the time.

    A thaw is owed from the moment at which the freeze is sent, whatever is heard of it.
    """
    if resolution.freeze is None:
        return
    yield Step(
        execute="guest-fsfreeze-freeze",
        arguments={},
        covers=(Operation(Kind.FREEZE_FILESYSTEMS),),
        undo=(Undo(UndoKind.THAW),),
        timeout_s=resolution.freeze.at_most_s,
        target=Target.AGENT,
    )
    yield Step(
        execute="guest-fsfreeze-thaw",
        arguments={},
        covers=(Operation(Kind.THAW_FILESYSTEMS),),
        target=Target.AGENT,
    )
