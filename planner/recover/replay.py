"""Brings a machine to where a journal ends: pure, and the same every time."""

from __future__ import annotations

import json

from attrs import frozen

from planner.compile.plan import Plan
from planner.compile.plan_text import read_plan
from planner.errors import BadInput, Problem
from planner.load.load_checks import LoadPlan
from planner.model.facts import Facts
from planner.model.facts_text import facts_from_plain
from planner.recover.journaled_plans import (
    FORMATS,
    JournaledPlan,
    journaled_plan_from_plain,
    machine_of,
)
from planner.run.actions import Action
from planner.run.journal import Again, Intent, Journal, Record, Result
from planner.run.journal_values import plain
from planner.run.machine import Machine
from planner.run.outcome import Outcome
from planner.save.save_machine import SaveMachine

__all__ = ["Replayed", "ReplayedPlan", "replay"]


@frozen
class Replayed:
    """Where a run stands.

    Attributes:
        plan: What it runs.
        facts: The VM just before the run, without the schema.
        machine: Knows all that the run knew.
        action: What comes next, or how it ended.
        unknown: Whether it had been begun, so that nobody knows whether it was done.
    """

    plan: Plan
    facts: Facts
    machine: SaveMachine
    action: Action | Outcome
    unknown: bool = False

    @property
    def tag(self) -> str:
        """The snapshot's tag."""
        return self.plan.request.tag

    @property
    def what(self) -> str:
        """What runs, in words."""
        return f"apply {self.tag!r} ({self.plan.program.design})"


@frozen
class ReplayedPlan:
    """Where a load or a delete stands; the attributes are those of `Replayed`."""

    order: JournaledPlan
    machine: Machine
    action: Action | Outcome
    unknown: bool = False

    @property
    def tag(self) -> str:
        """The snapshot's tag."""
        return self.order.tag

    @property
    def what(self) -> str:
        """What runs, in words."""
        return f"{'load' if isinstance(self.order, LoadPlan) else 'delete'} {self.tag!r}"


def replay(journal: Journal, source: str = "journal") -> Replayed | ReplayedPlan:
    """Replay a journal.

    Raises:
        BadInput: Its plan or facts are malformed, or it is not what this snapplan would have done
            (``journal-differs``): it was written by another version.
        Violation: Its plan breaks a rule.
    """
    header = journal.header
    if header.plan.get("format") in FORMATS:
        order = journaled_plan_from_plain(header.plan, source)
        driven = machine_of(order, header.deadline_s)
        return ReplayedPlan(order, driven, *_walk(driven, journal, source))
    plan = read_plan(json.dumps(header.plan), source)
    facts = facts_from_plain(dict(header.facts), source)
    machine = SaveMachine.of(plan.program, header.baseline, header.deadline_s)
    return Replayed(plan, facts, machine, *_walk(machine, journal, source))


def _walk(machine: Machine, journal: Journal, source: str) -> tuple[Action | Outcome, bool]:
    """Tell a machine what a journal says; what comes next, and whether it had been begun."""
    action: Action | Outcome = machine.start()
    unknown = False
    for number, record in enumerate(journal.records, start=1):
        if not _fits(record, action):
            raise _differs(source, number, journal.header.snapplan)
        if isinstance(record, Intent):
            unknown = True
            continue
        unknown = False
        action = _tell(machine, record)
    return action, unknown


def _fits(record: Record, action: Action | Outcome) -> bool:
    if isinstance(record, Again):
        return isinstance(action, Outcome) and bool(action.left)
    return not isinstance(action, Outcome) and record.action == plain(action)


def _tell(machine: Machine, record: Result | Again) -> Action | Outcome:
    if isinstance(record, Again):
        return machine.again()
    if record.interrupted:
        machine.interrupt()
    return machine.tell(record.response, record.events)


def _differs(source: str, number: int, version: str) -> BadInput:
    problem = Problem(
        "journal-differs",
        source,
        f"record {number} is not what this snapplan would have done; {version} wrote it",
        "recover with the version that wrote it",
    )
    return BadInput(f"{source} cannot be replayed", problems=(problem,), code=problem.code)
