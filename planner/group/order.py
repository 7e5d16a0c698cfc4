"""The steps of a group's members in one order, each with its member, and where they wait for each other.

Between two waits members go on side by side; the order among them there says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from planner.group.planning import GroupPlan
from planner.program.gates import Gate, gates_of
from planner.program.program import Step

__all__ = ["GroupStep", "GroupWait", "in_one_order"]

_PLACES = (Gate.FREEZE, Gate.PAUSE, Gate.PAUSED, Gate.STANDING, Gate.RESUME)


@frozen
class GroupStep:
    """A step, and the member whose VM is told it.

    Attributes:
        member: The member's name.
        number: Which of its program's steps, from 1.
        step: The step.
    """

    member: str
    number: int
    step: Step


@frozen
class GroupWait:
    """A wait of members for all others.

    Attributes:
        gate: Where.
        members: Those that wait there, in order of name.
    """

    gate: Gate
    members: tuple[str, ...]


def in_one_order(plan: GroupPlan) -> Iterator[GroupStep | GroupWait]:
    """The steps of all members as they may happen, one after the other, with the waits between them."""
    programs = {member.name: member.plan.program for member in plan.members}
    places = {
        name: {gate: number for number, gates in gates_of(program).items() for gate in gates}
        for name, program in programs.items()
    }
    done = dict.fromkeys(programs, 0)

    def up_to(name: str, last: int) -> Iterator[GroupStep]:
        for number in range(done[name] + 1, last + 1):
            yield GroupStep(name, number, programs[name].steps[number - 1])
        done[name] = max(done[name], last)

    for gate in _PLACES:
        here = [name for name in programs if gate in places[name]]
        for name in here:
            yield from up_to(name, places[name][gate] - 1)
        if here and gate is not Gate.PAUSED:  # nobody waits there
            yield GroupWait(gate, tuple(here))
    for name, program in programs.items():
        yield from up_to(name, len(program.steps))
    yield GroupWait(Gate.COMMIT, tuple(programs))
