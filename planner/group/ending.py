"""What the ends of a group's members amount to, as one error."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from planner.errors import Interrupted, OutcomeUnknown, Problem, RunFailed, UndoIncomplete
from planner.group.gatekeeper import GaveUp
from planner.run.outcome import Outcome
from planner.run.phases import Phase

__all__ = ["group_failure", "of_member", "unwritten_failure"]


def group_failure(
    group: str,
    outcomes: Mapping[str, Outcome],
    gave_up: GaveUp | None,
    clean: str = "no part of any member is left",
) -> RunFailed | None:
    """What a group's end amounts to; None: every member is done.

    Args:
        group: Its name.
        outcomes: How each member ended, by its name.
        gave_up: Why it was given up; None: it was not.
        clean: What is true where nothing is left, in a clause.
    """
    failed = {name: each for name, each in outcomes.items() if each.failure is not None}
    if not failed:
        return None
    cause = _cause(failed, gave_up)
    left = tuple(_left(failed))
    undone = tuple(f"{name}: {what}" for name, each in failed.items() for what in each.undone)
    states = ", ".join(
        f"{name} is {each.run_state or 'not to be asked'}" for name, each in outcomes.items()
    )
    rest = "not undone: see the problems" if left else clean
    return _kind(failed, cause)(
        f"group {group!r} is given up: {cause.words}",
        problems=(cause, *left),
        code=cause.code,
        vm_state=f"{states}; undone: {'; '.join(undone) or 'there was nothing to undo'}; {rest}.",
        undone=undone,
        left=left,
    )


def of_member(name: str, problem: Problem) -> Problem:
    """A problem of one member, with its name."""
    subject = f"{name}: {problem.subject}" if problem.subject else name
    return evolve(problem, subject=subject)


def _cause(failed: Mapping[str, Outcome], gave_up: GaveUp | None) -> Problem:
    if gave_up is not None:
        return Problem(gave_up.code, gave_up.member, gave_up.why)
    name, first = next(iter(failed.items()))
    failure = first.failure
    if failure is None:
        return Problem("run-failed", name, "")
    return Problem(failure.code, name, failure.message, failure.cause.remedy)


def _left(failed: Mapping[str, Outcome]) -> list[Problem]:
    return [of_member(name, problem) for name, each in failed.items() for problem in each.left]


def _kind(failed: Mapping[str, Outcome], cause: Problem) -> type[RunFailed]:
    phases = {each.phase for each in failed.values()}
    if Phase.UNKNOWN in phases:
        return OutcomeUnknown
    if Phase.INCOMPLETE in phases:
        return UndoIncomplete
    return Interrupted if cause.code == "interrupted" else RunFailed


def unwritten_failure(name: str, problems: tuple[Problem, ...]) -> UndoIncomplete:
    """What it amounts to that a group is made, and a member's manifest cannot be written."""
    return UndoIncomplete(
        f"group {name!r} is whole, and not all of it is recorded",
        problems=problems,
        code="manifest-unwritten",
        left=problems,
        vm_state=f"The VMs are as asked; run `snapplan group recover {name}` to write what is missing.",
    )
