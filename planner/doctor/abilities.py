"""What each design can do on a VM, and what can become of each disk, and why not.

Theory: nothing is told from a table.  What could be asked for is drafted, put where a design can put it,
and compiled: what the compiler refuses is what the design cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from planner.compare.request_per_design import adapt
from planner.compile.designs import DESIGNS, choose_design
from planner.compile.refusals import disk_problems
from planner.compile.resolve import resolve
from planner.doctor.finding import DesignAbility, DiskAbility
from planner.errors import Problem, SnapplanError, in_order
from planner.inspect.draft import draft_of, free_tag
from planner.model.facts import Disk, Facts
from planner.model.outside import outside_of
from planner.model.request import (
    Copy,
    Exclude,
    External,
    ExternalMachineState,
    ImageMachineState,
    Internal,
    InternalMachineState,
    MachineState,
    Request,
    Wish,
)
from planner.model.request_text import ReadRequest
from planner.parts.image_limits import holds_machine_state
from planner.parts.kinds import making_of
from planner.parts.reach import reach_problems

__all__ = ["design_abilities", "disk_abilities"]

_TAG = "snapplan-doctor"
_WISHES: dict[str, Wish] = {"internal": Internal(), "external": External(""), "copy": Copy("")}


def design_abilities(
    facts: Facts, there: Callable[[str], bool], folder: str
) -> tuple[DesignAbility, ...]:
    """What each design can save of what a VM has; what is outside of the block layer is left out.

    Args:
        facts: The VM.
        there: Whether something is at a path.
        folder: Where new files could go if no image has a folder; empty: nowhere.
    """
    tag = free_tag(facts, _TAG)
    drafted = draft_of(facts, tag, there, folder)
    known = facts.by_name()
    outside = (each.name for each in outside_of(facts) if each.name not in known)
    wishes = tuple((disk.name, disk.wish) for disk in drafted.disks)
    wishes += tuple((name, Exclude()) for name in outside)
    read = ReadRequest(Request(tag, drafted.machine_state, wishes))
    return tuple(_ability(read, facts, design.name) for design in DESIGNS)


def _ability(read: ReadRequest, facts: Facts, design: str) -> DesignAbility:
    adapted = adapt(read, facts, design)
    try:
        choose_design(design, resolve(adapted.read, facts))
    except SnapplanError as error:
        return DesignAbility(design, in_order(error.as_problems()))
    return DesignAbility(design, (), _where(adapted.read.request.machine_state))


def _where(state: MachineState) -> str:
    if isinstance(state, InternalMachineState):
        return f"machine state internal on {state.disk}"
    if isinstance(state, ImageMachineState):
        return "machine state in an image of its own"
    if isinstance(state, ExternalMachineState):
        return f"machine state in a file, `capture: {state.capture}`"
    return "without machine state"


def disk_abilities(facts: Facts) -> tuple[DiskAbility, ...]:
    """What each disk can become a part as, and whether the machine state can go into it."""
    return tuple(DiskAbility(disk.name, tuple(_parts(disk, facts))) for disk in facts.disks)


def _parts(disk: Disk, facts: Facts) -> Iterator[tuple[str, tuple[Problem, ...]]]:
    always = (*disk_problems(disk), *reach_problems(disk))
    for name, wish in _WISHES.items():
        making = making_of(wish)
        found = () if making is None else tuple(making.can_be(disk))
        yield name, in_order((*always, *found))
    inside = making_of(Internal())
    if not facts.is_daemon and inside is not None:
        holds = (*inside.can_be(disk), *holds_machine_state(disk, facts.disks))
        yield "machine-state", in_order((*always, *holds))
