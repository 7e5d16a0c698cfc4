"""A member of a group as its exploration takes it: what others can tell of it, and where it waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from planner.model.operations import CAPTURES, Kind
from planner.model.request import Capture
from planner.program.gates import Gate, gates_of
from planner.program.program import Program

__all__ = ["Item", "items_of"]

Item = Kind | Gate
_STREAMS = {Kind.BEGIN_STREAM_VMSTATE: True, Kind.END_STREAM_VMSTATE: False}


def items_of(program: Program) -> Iterator[Item]:
    """What a member does that others can tell, and where it waits; the gate `commit` in the end."""
    gates = gates_of(program)
    for number, step in enumerate(program.steps, start=1):
        yield from _told(gates.get(number, ()))
        captured = False
        for operation in step.covers:
            if operation.kind in (Kind.PAUSE_GUEST, Kind.RESUME_GUEST):
                yield operation.kind
            elif not captured and _captures(operation.kind, operation.detail):
                captured = True  # of several at once one is as good as all
                yield operation.kind
    yield from _told(gates.get(len(program.steps) + 1, ()))
    yield Gate.COMMIT


def _told(gates: Iterable[Gate]) -> Iterator[Gate]:
    """Freezing is nothing that another guest can tell, so its gate would only add states."""
    yield from (gate for gate in gates if gate is not Gate.FREEZE)


def _captures(kind: Kind, detail: str) -> bool:
    if kind in _STREAMS:
        return _STREAMS[kind] is (detail == Capture.BACKGROUND)
    return kind in CAPTURES
