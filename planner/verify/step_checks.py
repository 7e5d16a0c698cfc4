"""What a single step says of itself, held against what its command does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from planner.errors import Problem
from planner.model.operations import Kind
from planner.program.program import Step, Target, Undo, UndoKind, WaitsFor
from planner.program.rule_ids import RuleId
from planner.verify.effects import Effect

__all__ = ["covers_problems", "undo_problems"]

_OVERLAY_KINDS = (Kind.ADD_OVERLAY, Kind.SWITCH_TO_OVERLAY)
_STREAM_KINDS = {Kind.BEGIN_STREAM_VMSTATE, Kind.END_STREAM_VMSTATE}
_WAITS = {
    "stop": WaitsFor.STOPPED,
    "cont": WaitsFor.RUNNING,
    "snapshot-save": WaitsFor.JOB,
}


def covers_problems(step: Step, effect: Effect, where: str) -> Iterator[Problem]:
    """Where a step does not do what it says, waits for something else, or hides an order."""
    same = step.covers == effect.operations or (
        not step.ordered and Counter(step.covers) == Counter(effect.operations)
    )
    if not same and not effect.problems:
        yield Problem(RuleId.COVERS_TRUTH, where, "it does not do what it says that it covers")
    if step.ordered and not effect.ordered:
        yield Problem(
            RuleId.COVERS_TRUTH, where, "it claims an order that the command does not promise"
        )
    if step.atomic and not effect.atomic:
        yield Problem(RuleId.COVERS_TRUTH, where, "it claims to be atomic, and the command is not")
    expected = _expected_wait(step, effect)
    if step.waits_for is not expected:
        yield Problem(RuleId.OUTCOME_SEEN, where, f"it must wait for: {expected}")
    if not effect.ordered:
        yield from _unordered_problems(effect, where)


def _expected_wait(step: Step, effect: Effect) -> WaitsFor:
    if step.target is not Target.QMP:
        return WaitsFor.REPLY
    kinds = {operation.kind for operation in effect.operations}
    if Kind.END_STREAM_VMSTATE in kinds:
        return WaitsFor.MIGRATED
    if Kind.END_COPY in kinds:
        return WaitsFor.COPIED
    if Kind.BEGIN_STREAM_VMSTATE in kinds:
        return WaitsFor.SWITCHOVER if Kind.PAUSE_GUEST in kinds else WaitsFor.TRACKING
    return _WAITS.get(step.execute, WaitsFor.REPLY)


def _unordered_problems(effect: Effect, where: str) -> Iterator[Problem]:
    kinds: dict[str, Kind] = {}
    entangled = {
        operation.disk
        for operation in effect.operations
        if kinds.setdefault(operation.disk, operation.kind) is not operation.kind
    }
    for disk in sorted(entangled):
        yield Problem(
            RuleId.NO_ORDER_IN_A_TRANSACTION,
            where,
            f"it does several ordered things to {disk or 'the guest'} in no promised order",
        )


def undo_problems(step: Step, effect: Effect, where: str, own: str = "") -> Iterator[Problem]:
    """Where the undo of a step does not undo just what the step does.

    Args:
        step: The step.
        effect: What it does.
        where: What to call it.
        own: The node that machine state has of its own: its snapshot goes with it; empty: there is none.
    """
    made = {op.disk for op in effect.operations if op.kind is Kind.SNAPSHOT_DISK} - {own}
    touches = {op.disk for op in effect.operations if op.disk == own != ""}
    if touches != {undo.disk for undo in step.undo if undo.kind is UndoKind.REMOVE_NODE}:
        yield Problem(
            RuleId.UNDO_COMPLETE, where, "its undo does not remove just the node that it writes to"
        )
    undone = {undo.disk for undo in step.undo if undo.kind is UndoKind.DELETE_PART}
    if made != undone:
        yield Problem(
            RuleId.UNDO_COMPLETE, where, "its undo does not delete just the parts that it makes"
        )
    kinds = {undo.kind for undo in step.undo}
    if step.execute == "stop" and UndoKind.RESUME not in kinds:
        yield Problem(
            RuleId.UNDO_COMPLETE, where, "it pauses the guest, and its undo does not resume it"
        )
    over = {op.disk for op in effect.operations if op.kind in _OVERLAY_KINDS}
    if over != {undo.disk for undo in step.undo if undo.kind is UndoKind.REMOVE_OVERLAY}:
        yield Problem(
            RuleId.UNDO_COMPLETE, where, "its undo does not remove just the overlays it puts on"
        )
    yield from _copy_undo_problems(step, effect, where)
    kinds_done = {operation.kind for operation in effect.operations}
    begins = kinds_done & _STREAM_KINDS or step.execute == "migrate"
    if begins and Undo(UndoKind.CANCEL_MIGRATION) not in step.undo:
        yield Problem(
            RuleId.UNDO_COMPLETE, where, "it has a stream under way, and its undo cancels none"
        )


def _copy_undo_problems(step: Step, effect: Effect, where: str) -> Iterator[Problem]:
    for done, kind, words in (
        ((Kind.ADD_TARGET,), UndoKind.REMOVE_TARGET, "take out just the nodes that it adds"),
        ((Kind.BEGIN_COPY, Kind.END_COPY), UndoKind.CANCEL_COPY, "cancel just its own copies"),
    ):
        disks = {operation.disk for operation in effect.operations if operation.kind in done}
        if disks != {undo.disk for undo in step.undo if undo.kind is kind}:
            yield Problem(RuleId.UNDO_COMPLETE, where, f"its undo does not {words}")
