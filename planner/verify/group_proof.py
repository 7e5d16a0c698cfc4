"""Proves that the snapshot of a group is one instant: every pause comes before every resume.

Each member's program is proved alone (`planner.verify.proof`).  What is left is the order between them,
and nothing but the gates makes one: all that a member does before a gate comes before all that any does
behind it.  So it is enough that in every member the guest stands when it comes to the gate `resume`, and
does not go on before it: then each pause of one member comes before each resume of another, in every run
that the gates allow.

Theory: let a byte be sent by one guest and received by another.  If the receiver's state holds it, it
was received before the receiver's pause, so sent before the first resume of all, so before the sender's
own pause, and the sender's state holds it as sent.  A byte that is under way at the instant is in no
member's state: a link's buffer belongs to nobody.

A storage daemon has no guest.  What it serves changes only while a guest of another member runs, and
QEMU completes what is under way when it stops one.  So its captures must come behind the gate
`standing`, which opens when every guest that is stopped stands, and before the gate `resume`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import frozen

from planner.errors import Problem, Violation
from planner.model.operations import CAPTURES, Kind, Operation
from planner.model.request import Capture, RunStateAfter
from planner.program.gates import Gate
from planner.program.program import Program
from planner.program.rule_ids import RuleId
from planner.verify.proof import operations_by_step

__all__ = ["GatedProgram", "group_violations", "verify_group"]

_FREEZING = (Kind.FREEZE_FILESYSTEMS, Kind.THAW_FILESYSTEMS)
_STREAM = (Kind.BEGIN_STREAM_VMSTATE, Kind.END_STREAM_VMSTATE)


@frozen
class GatedProgram:
    """A member's program, and where it waits.

    Attributes:
        program: Proved alone.
        gates: The gates before each step, by its number from 1; after the last one: by the next number.
    """

    program: Program
    gates: Mapping[int, tuple[Gate, ...]]


def verify_group(members: Mapping[str, GatedProgram]) -> None:
    """Raise if a group can be of several instants.

    Raises:
        Violation: Each problem names the member and the step.  Nothing was sent.
    """
    found = group_violations(members)
    if found:
        raise Violation("the group is not one instant", problems=found)


def group_violations(members: Mapping[str, GatedProgram]) -> tuple[Problem, ...]:
    """What lets a guest run before every other stands; empty: it is proved."""
    orders = {name: list(_in_order(member)) for name, member in members.items()}
    waiting = any(Gate.STANDING in order for order in orders.values())
    stopping = any(Kind.PAUSE_GUEST in _kinds(order) for order in orders.values())
    return tuple(
        Problem(RuleId.GROUP_INSTANT, f"{name}: {where}", words)
        for name, member in sorted(members.items())
        for where, words in (
            *_wrong(member, orders[name], stopping=stopping),
            *(_untold(orders[name]) if waiting else ()),
        )
    )


def _untold(order: list[Operation | Gate]) -> Iterator[tuple[str, str]]:
    """A guest that is said to stand before it does, or never: others wait for just that."""
    for place, item in enumerate(order):
        if isinstance(item, Operation) and item.kind is Kind.PAUSE_GUEST:
            told = [at for at, each in enumerate(order) if each is Gate.PAUSED]
            if len(told) != 1 or told[0] < place:
                yield str(item), "it is not told once, and afterwards, that the guest stands"


def _kinds(order: list[Operation | Gate]) -> set[Kind]:
    return {item.kind for item in order if isinstance(item, Operation)}


def _wrong(
    member: GatedProgram, order: list[Operation | Gate], *, stopping: bool
) -> Iterator[tuple[str, str]]:
    """What is wrong with one member, each with the place."""
    count = order.count(Gate.RESUME)
    if count != 1:
        yield "the whole program", f"it comes {count} times to the gate 'resume' instead of once"
        return
    yield from _frozen_apart(order)
    gate = order.index(Gate.RESUME)
    running = member.program.resolution.run_state_before is RunStateAfter.RUNNING
    if running and Gate.STANDING in order and Kind.PAUSE_GUEST not in _kinds(order):
        yield from _wrong_daemon(order, gate, stopping=stopping)
    else:
        yield from _wrong_guest(order, gate, running=running)


def _wrong_guest(
    order: list[Operation | Gate], gate: int, *, running: bool
) -> Iterator[tuple[str, str]]:
    """What is wrong with a member that has a guest."""
    for place, item in enumerate(order):
        if item is Gate.RESUME and running:
            yield "the gate 'resume'", "the guest does not stand there: nothing has stopped it"
        if not isinstance(item, Operation):
            continue
        if item.kind is Kind.PAUSE_GUEST:
            running = False
            if place > gate:
                yield str(item), "it comes after the gate 'resume'"
        elif item.kind is Kind.RESUME_GUEST:
            running = True
            if place < gate:
                yield str(item), "it comes before the gate 'resume': other guests may not stand yet"
        elif place > gate and _is_capture(item):
            yield str(item), "it captures after the gate 'resume': other guests may run by then"


def _frozen_apart(order: list[Operation | Gate]) -> Iterator[tuple[str, str]]:
    """Freezing that comes before all are prepared, or after the first guest stands."""
    gates = {item: place for place, item in enumerate(order) if isinstance(item, Gate)}
    for place, item in enumerate(order):
        if not isinstance(item, Operation) or item.kind not in _FREEZING:
            continue
        if item.kind is Kind.THAW_FILESYSTEMS:
            if place < gates[Gate.RESUME]:
                yield str(item), "it comes before the gate 'resume': others may not be captured yet"
        elif not gates.get(Gate.FREEZE, place) < place < gates.get(Gate.PAUSE, place):
            yield str(item), "it is not between the gates 'freeze' and 'pause'"


def _wrong_daemon(
    order: list[Operation | Gate], resume: int, *, stopping: bool
) -> Iterator[tuple[str, str]]:
    """What is wrong with a member that has no guest, and waits for those of others."""
    if not stopping:
        yield "the gate 'standing'", "no member has a guest that is stopped: it waits for nobody"
    standing = order.index(Gate.STANDING)
    for place, item in enumerate(order):
        if isinstance(item, Operation) and _is_capture(item) and not standing < place < resume:
            yield str(item), "it captures while guests that write to it may run"


def _in_order(member: GatedProgram) -> Iterator[Operation | Gate]:
    """What a member does and where it waits, as it comes."""
    done = operations_by_step(member.program)
    for number, operations in enumerate(done, start=1):
        yield from member.gates.get(number, ())
        yield from operations
    yield from member.gates.get(len(done) + 1, ())


def _is_capture(operation: Operation) -> bool:
    """A background stream holds the instant at which it begins, another one that of its end."""
    if operation.kind in _STREAM:
        background = operation.detail == Capture.BACKGROUND
        begins = operation.kind is Kind.BEGIN_STREAM_VMSTATE
        return begins if background else not begins
    return operation.kind in CAPTURES
