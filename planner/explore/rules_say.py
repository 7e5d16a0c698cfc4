"""What the ordering rules say of a design's instructions, without any search.

As `planner.compile.lower`, but for instructions that promise a part of an order, and that stand in an
order already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.compile.graph import build_graph
from planner.errors import Problem, in_order
from planner.explore.instruction import Instruction
from planner.model.operations import Kind, Operation
from planner.model.request import Capture
from planner.program.resolution import Resolution, operations_of

__all__ = ["rules_say"]


def rules_say(instructions: Sequence[Instruction], resolution: Resolution) -> tuple[Problem, ...]:
    """What the rules say of instructions; nothing: what the request needs is done, in a right order.

    Judged are the request's operations and those that the design does besides, such as a freeze.
    """
    owner = {op: number for number, i in enumerate(instructions) for op in i.operations}
    operations = dict.fromkeys((*operations_of(resolution), *owner))
    problems = {_not_done(operation) for operation in operations if operation not in owner}
    for before, after, data in build_graph(operations).edges(data=True):
        if before not in owner or after not in owner:
            continue
        rules = " and ".join(data["rules"])
        first, second = owner[before], owner[after]
        if first > second:
            problems.add(
                Problem(
                    data["rules"][0], instructions[second].name, f"does {after} before {before}"
                )
            )
        elif first == second and not _promises(instructions[first], before, after):
            why = f"does not promise {before} before {after}, which {rules} asks for"
            problems.add(Problem("no-order-in-a-transaction", instructions[first].name, why))
    problems.update(_untracked(instructions))
    return in_order(problems)


def _not_done(operation: Operation) -> Problem:
    return Problem(
        "design-cannot", str(operation), "the request needs it, and no instruction does it"
    )


def _untracked(instructions: Sequence[Instruction]) -> Iterator[Problem]:
    for instruction in instructions:
        begins = any(
            operation.kind is Kind.BEGIN_STREAM_VMSTATE and operation.detail == Capture.BACKGROUND
            for operation in instruction.operations
        )
        if begins and not instruction.waits_for_tracking:
            why = "does not wait until write tracking is seen to be on"
            yield Problem("tracking-before-resume", instruction.name, why)


def _promises(instruction: Instruction, before: Operation, after: Operation) -> bool:
    places = {operation: number for number, operation in enumerate(instruction.operations)}
    reached, waiting = 0, instruction.before[places[after]]
    while waiting & ~reached:
        number = (waiting & ~reached & -(waiting & ~reached)).bit_length() - 1
        reached |= 1 << number
        waiting |= instruction.before[number]
    return bool(reached >> places[before] & 1)
