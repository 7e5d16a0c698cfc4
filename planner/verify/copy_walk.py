"""Whether each copy is made, begun, waited for, closed and named, in this order, and no other is.

Part of the verifier: it shares no code with the rules' edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum

from attrs import define, field

from planner.errors import Problem
from planner.model.operations import Kind, Operation
from planner.program.program import Step, Target, Undo, UndoKind
from planner.program.resolution import DiskCopy, Resolution
from planner.program.rule_ids import RuleId

__all__ = ["OF_COPY_WALK", "CopyWalk"]

OF_COPY_WALK = frozenset({Kind.ADD_TARGET, Kind.END_COPY})
"""What is this walk's business alone."""


class _Stage(IntEnum):
    ABSENT = 0
    MADE = 1
    ADDED = 2
    BEGUN = 3
    ENDED = 4
    CLOSED = 5
    NAMED = 6


_OF_OPERATION: Mapping[Kind, _Stage] = {
    Kind.ADD_TARGET: _Stage.ADDED,
    Kind.BEGIN_COPY: _Stage.BEGUN,
    Kind.END_COPY: _Stage.ENDED,
}


@define
class CopyWalk:
    """The copies as a program changes them.

    Attributes:
        resolution: What was decided.
        stages: By disk, how far its copy is.
    """

    resolution: Resolution
    stages: dict[str, _Stage] = field(factory=dict)

    def take(
        self, step: Step, operations: Sequence[Operation], where: str, *, running: bool
    ) -> Iterator[Problem]:
        """Take account of a step that does these operations; says what is wrong with it.

        Args:
            step: The step.
            operations: What its command does.
            where: What to call it.
            running: Whether the guest runs when it begins.
        """
        for operation in operations:
            stage = _OF_OPERATION.get(operation.kind)
            if stage is not None:
                yield from self._reach(operation.disk, stage, where)
            if stage is _Stage.ADDED and self.resolution.pauses and not running:
                yield Problem(RuleId.OVERLAY_READY, where, f"{operation} in the pause")
            if stage is _Stage.ENDED and self.resolution.resumes and not running:
                words = f"{operation} is waited for in the pause"
                yield Problem(RuleId.COPY_AFTER_RESUME, where, words)
        if step.execute == "blockdev-del":
            for copy in self.resolution.copies:
                if copy.target == step.arguments.get("node-name"):
                    yield from self._reach(copy.disk, _Stage.CLOSED, where)
        elif step.target is Target.HOST and step.execute in ("create-copy", "keep-copy"):
            yield from self._file(step, where)

    def _file(self, step: Step, where: str) -> Iterator[Problem]:
        makes = step.execute == "create-copy"
        wanted = _made if makes else _named
        copy = next((c for c in self.resolution.copies if wanted(c) == dict(step.arguments)), None)
        if copy is None:
            words = "it makes a file that the request does not ask for"
            yield Problem(RuleId.NOTHING_ELSE, where, words)
            return
        yield from self._reach(copy.disk, _Stage.MADE if makes else _Stage.NAMED, where)
        if Undo(UndoKind.REMOVE_FILE, copy.disk) not in step.undo:
            yield Problem(RuleId.UNDO_COMPLETE, where, "its undo must be: remove-file")

    def _reach(self, disk: str, stage: _Stage, where: str) -> Iterator[Problem]:
        was = self.stages.get(disk, _Stage.ABSENT)
        if was != stage - 1:
            words = f"the copy of {disk} is {was.name.lower()}, and cannot be {stage.name.lower()}"
            yield Problem(RuleId.COMPLETE, where, words)
        self.stages[disk] = stage

    def finish(self, where: str) -> Iterator[Problem]:
        """What is wrong at the end."""
        for copy in self.resolution.copies:
            if self.stages.get(copy.disk) is not _Stage.NAMED:
                yield Problem(RuleId.COMPLETE, where, f"the copy of {copy.disk} is not finished")


def _made(copy: DiskCopy) -> dict[str, object]:
    more = {"format": "raw"} if copy.format == "raw" else {}
    return {**_named(copy), "base": copy.base_file, "size": copy.size_bytes, **more}


def _named(copy: DiskCopy) -> dict[str, object]:
    return {"path": copy.path, "temporary": copy.temporary}
