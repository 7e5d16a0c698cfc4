"""A design that is a file: instructions that some QEMU has, or that somebody proposes.

The instructions name operations by kind and, where it matters, which disks: `vmstate` (the one that
holds the machine state), `others`, or `all`.  Laid over a request they become the explorer's
instructions; what the request does not need falls away, and an instruction with nothing left is not
sent.

Rules: plain values; a design that does not cover a request, each operation once, is refused with what
is wrong, as the designs of today are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Union

from attrs import field, frozen

from planner.explore.instruction import (
    ClientKind,
    Completion,
    CopyOf,
    OnExistingTag,
    OnFailure,
    SideEffect,
    VmstateIn,
    VmstateOf,
)
from planner.model.operations import Kind

__all__ = [
    "IN_AN_IMAGE",
    "NO_MACHINE_STATE",
    "AnyOrder",
    "DesignFile",
    "InOrder",
    "Pattern",
    "PlannedInstruction",
    "Proposer",
    "Which",
]

IN_AN_IMAGE = "image"
"""In place of a capture: machine state has an image of its own."""

NO_MACHINE_STATE = "none"
"""In place of a capture: the design is for disks alone."""

Which = str
"""``vmstate``, ``others`` or ``all``."""


@frozen
class Pattern:
    """Some of a request's operations."""

    kind: Kind
    which: Which = "all"


@frozen
class InOrder:
    """One after the other."""

    parts: tuple[Body, ...]


@frozen
class AnyOrder:
    """In whatever order QEMU likes."""

    parts: tuple[Body, ...]


Body = Union[Pattern, InOrder, AnyOrder]  # noqa: UP007 - the three refer to each other


@frozen
class PlannedInstruction:
    """An instruction as a design has it, for any request.

    Attributes:
        name: What it is called.
        does: What it does.
        each_alone: Whether it is sent once for each disk.
        needs_machine_state: Whether it cannot do without.
        atomic, stops_guest, on_failure, existing_tag, vmstate_in, vmstate_of, waits_for_tracking,
            copy_of, completion, by_tag, monitor_answers, leaves_active, effect: As in `Instruction`;
            one with an effect does nothing else.
    """

    name: str
    does: Body
    each_alone: bool = False
    needs_machine_state: bool = False
    atomic: bool = False
    stops_guest: bool = False
    on_failure: OnFailure = OnFailure.WHAT_WAS_DONE
    existing_tag: OnExistingTag = OnExistingTag.REFUSE
    vmstate_in: VmstateIn = VmstateIn.ACTIVE_LAYER
    vmstate_of: VmstateOf = VmstateOf.WRITE
    waits_for_tracking: bool = False
    copy_of: CopyOf = CopyOf.BEGIN
    completion: Completion = Completion.INDIVIDUAL
    by_tag: bool = False
    monitor_answers: bool = False
    leaves_active: bool = False
    effect: SideEffect = SideEffect.NONE


@frozen
class Proposer:
    """Who proposed a design, and in which words."""

    who: str
    where: str
    says: str = ""


@frozen
class DesignFile:
    """A design.

    Attributes:
        name: What it is called.
        summary: What it is, in a sentence.
        exists: In which QEMU; empty where in none.
        proposed_by: Who said what.
        instructions: In the order in which a client sends them.
        verdict: By set of faults, the ids of the properties that do not hold.
        finding: What the verdict means.
        capture: The one way in which it captures machine state beside the disks, `IN_AN_IMAGE` for an
            image of its own, `NO_MACHINE_STATE` for none; empty: as the request asks.
        client: How its client treats a failure.
    """

    name: str
    summary: str
    instructions: tuple[PlannedInstruction, ...]
    exists: str = ""
    proposed_by: tuple[Proposer, ...] = ()
    verdict: Mapping[str, tuple[str, ...]] = field(factory=dict, hash=False)
    finding: str = ""
    capture: str = ""
    client: ClientKind = ClientKind.CAREFUL
