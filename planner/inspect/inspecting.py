"""What a VM can do, disk by disk: what a tool shows before anybody asks for a snapshot."""

from __future__ import annotations

from itertools import chain

from attrs import frozen

from planner.compile.refusals import disk_problems
from planner.inspect.draft import draft_of
from planner.model.facts import Disk, Facts
from planner.model.request import Request
from planner.parts.image_limits import holds_machine_state
from planner.parts.make_internal import MakeInternal

__all__ = ["InspectedDisk", "Inspection", "inspection_of"]


@frozen
class InspectedDisk:
    """One disk, and what it can hold.

    Attributes:
        disk: The disk as it is.
        why_not: Why it can hold no internal snapshot, in a clause; empty: it can.
        holds_machine_state: Whether the machine state can go into it as well.
    """

    disk: Disk
    why_not: str
    holds_machine_state: bool


@frozen
class Inspection:
    """A VM, as it was when it was asked.

    Attributes:
        facts: All that it said.
        disks: Each disk with what it can hold.
    """

    facts: Facts
    disks: tuple[InspectedDisk, ...]

    @property
    def run_state(self) -> str:
        """QEMU's run state, ``running`` for example."""
        return self.facts.run_state

    def draft(self, tag: str) -> Request:
        """A request for all that can be saved, to be changed (`attrs.evolve`) and given to `save`.

        What can be no part at all is excluded.  What is outside of QEMU's block layer is not named, and
        the request is refused until its user leaves it out: an object has no comment that could say
        what that costs, as the draft of `snapplan inspect --request` does.
        """
        drafted = draft_of(self.facts, tag)
        return Request(
            tag, drafted.machine_state, tuple((each.name, each.wish) for each in drafted.disks)
        )


def inspection_of(facts: Facts) -> Inspection:
    """What can be told by facts alone."""
    return Inspection(facts, tuple(_inspected(disk) for disk in facts.disks))


def _inspected(disk: Disk) -> InspectedDisk:
    problem = next(chain(MakeInternal().can_be(disk), disk_problems(disk)), None)
    why_not = "" if problem is None else problem.message
    return InspectedDisk(disk, why_not, not why_not and not any(holds_machine_state(disk)))
