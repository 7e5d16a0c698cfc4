"""Brings a machine to where a journal ends: pure, and the same every time."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from planner.delete.delete_run import DELETE_PLANS, DeleteRun
from planner.errors import BadInput, Problem
from planner.load.load_run import LOAD_PLANS, LoadRun
from planner.run.actions import Action
from planner.run.journal import Again, Header, Intent, Journal, Record, Result
from planner.run.journal_values import plain
from planner.run.machine import Machine
from planner.run.outcome import Outcome
from planner.save.save_run import SaveRun
from planner.store.journaled import Run

__all__ = ["Replayed", "replay"]


_KINDS: dict[object, Callable[[Header, str], Run]] = {
    LOAD_PLANS.name: LoadRun.read,
    DELETE_PLANS.name: DeleteRun.read,
}


@frozen
class Replayed:
    """Where a run stands.

    Attributes:
        run: What is run.
        machine: Knows all that the run knew.
        action: What comes next, or how it ended.
        unknown: Whether it had been begun, so that nobody knows whether it was done.
    """

    run: Run
    machine: Machine
    action: Action | Outcome
    unknown: bool = False


def replay(journal: Journal, source: str = "journal") -> Replayed:
    """Replay a journal.

    Raises:
        BadInput: Its plan or facts are malformed, or it is not what this snapplan would have done
            (``journal-differs``): it was written by another version.
        Violation: Its plan breaks a rule.
    """
    header = journal.header
    kind = header.plan.get("format")
    read = _KINDS.get(kind, SaveRun.read) if isinstance(kind, str) else SaveRun.read
    run = read(header, source)
    machine = run.machine(header.baseline, header.deadline_s)
    return Replayed(run, machine, *_walk(machine, journal, source))


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
