"""Gates: the places in a program at which a member of a group waits for the others.

A group is ordinary programs of several VMs, each of which waits at three places.  Where they are follows
from what the program's steps cover, so no plan has to say it; `planner.verify.group_proof` judges it by
what QEMU does instead.

    prepare - |freeze| - freeze - |pause| - stop, captures - |resume| - cont, thaw - confirm - |commit|

A live capture stops its guest by itself, when little is left to copy.  Such a member comes to `FREEZE`
and `PAUSE` with its guest standing already, and the others are neither frozen nor stopped before: they
would be so while it copies.

A storage daemon has no guest to stop: it waits until those of the others stand, and captures then.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from planner.model.operations import CAPTURES, Kind
from planner.model.request import RunStateAfter
from planner.program.program import Program, Step

__all__ = ["Gate", "gates_of", "stops_a_guest", "waits_for_guests"]


class Gate(StrEnum):
    """A place at which a member of a group waits until every member is there."""

    FREEZE = "freeze"
    """Everything is prepared; file systems are frozen next, where a member asks for it."""
    PAUSE = "pause"
    """Everything is prepared and frozen; the guest is stopped next, or a live capture has stopped it."""
    PAUSED = "paused"
    """The guest stands.  Nobody waits here: it is told, and the pause of the group counts from it."""
    STANDING = "standing"
    """Every guest of the others that is to be stopped stands; what has no guest captures next."""
    RESUME = "resume"
    """Every capture is done; the guest goes on next, if it goes on at all."""
    COMMIT = "commit"
    """The VM has shown every part, and nothing is recorded yet: the group decides."""
    LOAD = "load"
    """A load: the guest stands and all was looked at once more; disks are reverted next."""
    LOADED = "loaded"
    """A load: QEMU has loaded the snapshot; the guest goes on next, if it goes on at all."""

    __hash__ = str.__hash__


def gates_of(program: Program) -> Mapping[int, tuple[Gate, ...]]:
    """The gates before each step, by its number from 1; after the last step: by the next number."""
    steps = list(enumerate(program.steps, start=1))
    pause = next((n for n, step in steps if Kind.PAUSE_GUEST in _kinds(step)), None)
    resume = next((n for n, step in steps if Kind.RESUME_GUEST in _kinds(step)), None)
    freeze = next((n for n, step in steps if Kind.FREEZE_FILESYSTEMS in _kinds(step)), None)
    found: dict[int, tuple[Gate, ...]] = {}

    def put(number: int, *gates: Gate) -> None:
        found[number] = (*found.get(number, ()), *gates)

    first = [Gate.FREEZE, Gate.PAUSE]
    if freeze is not None:
        put(freeze, first.pop(0))
    if pause is None:
        capturing = (n for n, step in steps if CAPTURES & _kinds(step) or step.execute == "migrate")
        if program.resolution.run_state_before is RunStateAfter.RUNNING:
            first.append(Gate.STANDING)
        put(next(capturing, 1), *first)
    elif program.steps[pause - 1].execute == "stop":
        put(pause, *first)
        put(pause + 1, Gate.PAUSED)
    else:
        put(pause + 1, Gate.PAUSED, *first)  # the pause of the group counts from here
    put(len(steps) + 1 if resume is None else resume, Gate.RESUME)
    return found


def stops_a_guest(program: Program) -> bool:
    """Whether it says that its guest stands: others may wait for that."""
    return _has(program, Gate.PAUSED)


def waits_for_guests(program: Program) -> bool:
    """Whether it has no guest of its own, and waits until those of the others stand."""
    return _has(program, Gate.STANDING)


def _has(program: Program, gate: Gate) -> bool:
    return any(gate in gates for gates in gates_of(program).values())


def _kinds(step: Step) -> frozenset[Kind]:
    return frozenset(operation.kind for operation in step.covers)
