"""Freezing a guest's file systems around the capture: when it makes sense, and when it cannot work."""

from __future__ import annotations

from collections.abc import Iterator

from planner.errors import Problem
from planner.model.facts import Facts
from planner.model.request import NoMachineState, Request, RunStateAfter, Unreadable
from planner.program.resolution import Choice

__all__ = ["freeze_choices", "freeze_problems"]

_KEY = "freeze-filesystems"


def freeze_problems(request: Request, facts: Facts, after: RunStateAfter) -> Iterator[Problem]:
    """Why the file systems cannot be frozen as asked; nothing where they can, or need not be.

    Args:
        request: What was asked for.
        facts: The VM.
        after: The run state that it is to be left in.
    """
    if request.freeze is None:
        return
    if request.freeze.agent and not request.freeze.agent.startswith("/"):
        yield Problem(
            "path-not-absolute",
            _KEY,
            f"{request.freeze.agent!r} means another socket in another folder",
            "write the whole path of the agent's socket",
        )
    if not isinstance(request.machine_state, NoMachineState | Unreadable):
        yield Problem(
            "freeze-with-machine-state",
            _KEY,
            "machine state saved meanwhile would hold a guest whose file systems are frozen, for ever "
            "after each load; with machine state nothing is lost without freezing either",
            "leave it out, or write `machine-state: none`",
        )
    if facts.run_state != RunStateAfter.RUNNING:
        yield Problem(
            "freeze-needs-running",
            _KEY,
            f"the VM is {facts.run_state!r}, and the agent works only while its guest runs",
            "resume the VM first, or leave it out",
        )
    elif after is RunStateAfter.PAUSED:
        yield Problem(
            "freeze-then-paused",
            _KEY,
            "the guest is to be paused for the capture and to stay so, and could not thaw then",
            "leave it out, or do not ask for `run-state-after: paused`",
        )


def freeze_choices(request: Request) -> Iterator[Choice]:
    """What there is to explain about freezing."""
    if request.freeze is not None:
        value = f"by {request.freeze.agent}, for {request.freeze.at_most_s} s at the most"
        yield Choice(_KEY, value, "asked for")
