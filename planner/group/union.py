"""The graph of a group: the graphs of its members, and the one rule between them.

The rule that the snapshots are one instant needs one edge from each pause to each resume.  That all
captures of all members lie between them follows, since each member's own rules put its captures between
its own two.  That every pause comes before every capture, too, would be stricter than any guest can tell
(and 35 times as many edges for 64 VMs of 16 disks); what of that a run keeps all the same, its gates do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from planner.compile.graph import build_graph
from planner.compile.rules import RULES, Edge, Operations, Rule
from planner.model.operations import Kind
from planner.model.request import RunStateAfter
from planner.program.resolution import Resolution, operations_of
from planner.program.rule_ids import RuleId

if TYPE_CHECKING:
    from planner.compile.graph import Graph

__all__ = ["GROUP_RULE", "union_graph"]


def _group_instant(operations: Operations) -> Iterator[Edge]:
    # db: PauseGuest -> web: ResumeGuest, and web: PauseGuest -> db: ResumeGuest.
    for pause in operations.of_kind(Kind.PAUSE_GUEST):
        for resume in operations.of_kind(Kind.RESUME_GUEST):
            if pause.vm != resume.vm:
                yield pause, resume


GROUP_RULE = Rule(
    RuleId.GROUP_INSTANT,
    "a guest that runs before all others stand can be told by one that does what the other never sent",
    _group_instant,
)


def _served_instant(daemons: frozenset[str]) -> Rule:
    def edges(operations: Operations) -> Iterator[Edge]:
        # vm: PauseGuest -> disks: SnapshotDisk(disk0) -> vm: ResumeGuest.
        for daemon in daemons:
            for capture in operations.captures.get(daemon, ()):
                for pause in operations.of_kind(Kind.PAUSE_GUEST):
                    yield pause, capture
                for resume in operations.of_kind(Kind.RESUME_GUEST):
                    yield capture, resume

    reason = (
        "what a daemon serves is written to by guests that run: only while they stand is it theirs"
    )
    return Rule(RuleId.GROUP_INSTANT, reason, edges)


def union_graph(members: Mapping[str, Resolution]) -> Graph:
    """The operations of all members in one graph, each under its member's name."""
    operations = [
        operation._replace(vm=name)
        for name, resolution in members.items()
        for operation in operations_of(resolution)
    ]
    daemons = frozenset(
        name
        for name, resolution in members.items()
        if resolution.run_state_before is RunStateAfter.RUNNING and not resolution.pauses
    )
    return build_graph(operations, (*RULES, GROUP_RULE, _served_instant(daemons)))
