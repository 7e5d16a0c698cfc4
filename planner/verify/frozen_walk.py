"""Whether a program's captures lie between a freeze and a thaw, and nothing else does.

Part of the verifier: it shares no code with the rules' edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import define

from planner.errors import Problem
from planner.model.operations import CAPTURES, Kind, Operation
from planner.program.program import Step, Undo, UndoKind
from planner.program.resolution import Resolution
from planner.program.rule_ids import RuleId

__all__ = ["OF_FROZEN_WALK", "FrozenWalk"]

OF_FROZEN_WALK = frozenset({Kind.FREEZE_FILESYSTEMS, Kind.THAW_FILESYSTEMS})
"""What is this walk's business alone."""

_RULE = RuleId.FROZEN_CAPTURE
_RUN_STATES = (Kind.PAUSE_GUEST, Kind.RESUME_GUEST)


@define
class FrozenWalk:
    """The guest's file systems as a program changes them.

    Attributes:
        resolution: What was decided.
        frozen: Whether they are frozen now.
        freezes: How often they were frozen.
        stands: Whether the guest is stopped now; its agent is too then.
    """

    resolution: Resolution
    frozen: bool = False
    freezes: int = 0
    stands: bool = False

    def take(self, step: Step, operations: Sequence[Operation], where: str) -> Iterator[Problem]:
        """Take account of a step that does these operations; says what is wrong with it."""
        was_frozen = self.frozen
        for operation in operations:
            if operation.kind is Kind.FREEZE_FILESYSTEMS:
                yield from self._freeze(step, where)
            elif operation.kind is Kind.THAW_FILESYSTEMS:
                yield from self._thaw(where)
            elif operation.kind in _RUN_STATES:
                self.stands = operation.kind is Kind.PAUSE_GUEST
            elif operation.kind in CAPTURES:
                if self.resolution.freeze is not None and not self.frozen:
                    yield Problem(
                        _RULE, where, f"{operation} while the file systems are not frozen"
                    )
            elif self.frozen:
                yield Problem(_RULE, where, f"{operation} while the file systems are frozen")
        if was_frozen and not operations:
            yield Problem(_RULE, where, "it captures nothing, and the file systems are frozen")

    def _freeze(self, step: Step, where: str) -> Iterator[Problem]:
        freeze = self.resolution.freeze
        if freeze is None:
            yield Problem(RuleId.NOTHING_ELSE, where, "the request does not ask for a freeze")
        elif step.timeout_s > freeze.at_most_s:
            yield Problem(_RULE, where, "it may take longer than they may be frozen")
        if self.frozen:
            yield Problem(_RULE, where, "the file systems are frozen already")
        if self.stands:
            yield Problem(_RULE, where, "the guest stands, and its agent with it")
        if Undo(UndoKind.THAW) not in step.undo:
            yield Problem(RuleId.UNDO_COMPLETE, where, "it freezes, and its undo does not thaw")
        self.frozen = True
        self.freezes += 1

    def _thaw(self, where: str) -> Iterator[Problem]:
        if not self.frozen:
            yield Problem(_RULE, where, "it thaws what is not frozen")
        if self.stands:
            yield Problem(_RULE, where, "the guest stands, and its agent with it")
        self.frozen = False

    def finish(self, where: str) -> Iterator[Problem]:
        """What is wrong at the end."""
        wanted = 0 if self.resolution.freeze is None else 1
        if self.frozen:
            yield Problem(_RULE, where, "it leaves the guest's file systems frozen")
        if self.freezes != wanted:
            yield Problem(
                RuleId.COMPLETE,
                where,
                f"the file systems are frozen {self.freezes} times, not {wanted}",
            )
