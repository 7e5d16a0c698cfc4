"""What the commands of a copy do, derived from their arguments: see `planner.verify.effects`."""

from __future__ import annotations

from collections.abc import Mapping

from planner.errors import Problem
from planner.model.operations import Kind, Operation
from planner.program.resolution import DiskCopy
from planner.program.rule_ids import RuleId

__all__ = ["added_target", "begun_copy"]

_Found = tuple[tuple[Operation, ...], tuple[Problem, ...]]


def begun_copy(data: Mapping[str, object], copy: DiskCopy | None) -> _Found:
    """What a `blockdev-backup` does, and what is wrong with it; None: its target is no copy's."""
    if copy is None:
        text = "this is no copy of the snapshot"
        return (), (Problem(RuleId.NOTHING_ELSE, str(data["target"]), text),)
    wanted: dict[str, object] = {"device": copy.root, "target": copy.target, "job-id": copy.job}
    wanted |= {"sync": "full", "auto-dismiss": False}
    wanted |= {"on-cbw-error": "break-snapshot"} if copy.spares_guest else {}
    text = "it must copy all of its own disk, by its own job, which stays until it is seen"
    wrong = (Problem(RuleId.NOTHING_ELSE, copy.target, text),) if dict(data) != wanted else ()
    return (Operation(Kind.BEGIN_COPY, disk=copy.disk),), wrong


def added_target(arguments: Mapping[str, object], copy: DiskCopy) -> _Found:
    """What the `blockdev-add` of a copy's file does, and what is wrong with it."""
    file: dict[str, object] = {"driver": "file", "filename": copy.temporary}
    wanted: dict[str, object] = {"driver": "qcow2", "file": file}
    wanted = {"node-name": copy.target} | (file if copy.format == "raw" else wanted)
    text = f"it must be the {copy.format} image {copy.temporary}"
    wrong = (Problem(RuleId.NOTHING_ELSE, copy.target, text),) if dict(arguments) != wanted else ()
    return (Operation(Kind.ADD_TARGET, disk=copy.disk),), wrong
