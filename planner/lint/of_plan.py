"""A plan as a sequence of commands to be linted."""

from __future__ import annotations

from planner.compile.plan import Plan
from planner.lint.program import Command, Listing
from planner.model.request import RunStateAfter
from planner.program.program import Step, Target, looks_of

__all__ = ["listing_of_plan"]


def listing_of_plan(plan: Plan, source: str) -> Listing:
    """A plan's commands, with the questions by which a run sees what became of each step.

    The line of a command is the number of its step.
    """
    resolution = plan.program.resolution
    entries = [
        command
        for number, step in enumerate(plan.program.steps, start=1)
        if step.target is Target.QMP
        for command in _with_looks(number, step)
    ]
    return Listing(
        tuple(entries),
        source,
        kind="plan",
        given_up=frozenset((old.root, old.id) for old in resolution.replaced),
        left_out=frozenset(resolution.excluded),
        starts_paused=resolution.run_state_before is RunStateAfter.PAUSED,
        ends_paused=resolution.run_state_after is RunStateAfter.PAUSED,
    )


def _with_looks(number: int, step: Step) -> list[Command]:
    looks = ((look, dict(arguments)) for look, arguments in looks_of(step))
    return [
        Command(number, step.execute, step.arguments),
        *(Command(number, look, arguments) for look, arguments in looks),
    ]
