"""A design's instructions cover the graph, and the graph orders the instructions.

A design names instructions in no order.  Here each is laid over the operations that it covers; an
ordering rule between operations of two instructions orders these, one inside an instruction must be
kept by the instruction itself: if it promises no order, the cover is illegal
(**no-order-in-a-transaction**).  What comes out is the canonical order of that smaller graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from planner.errors import InternalError, Problem, Violation, in_order
from planner.model.operations import Kind, Operation
from planner.program.program import Step

if TYPE_CHECKING:
    import networkx as nx

    from planner.compile.graph import Graph

    _Quotient = nx.DiGraph[int]

__all__ = ["lower"]


def lower(graph: Graph, instructions: Sequence[Step]) -> tuple[Step, ...]:
    """Order a design's instructions by the rules.

    Args:
        graph: The operations and their rules.
        instructions: What is to cover them, in any order.

    Returns:
        The instructions in canonical order.

    Raises:
        InternalError: An operation is covered by no instruction, or by two, or is not in the graph.
        Violation: The cover is illegal; each problem names the rule.
    """
    import networkx as nx  # noqa: PLC0415 - see `planner.compile.graph.build_graph`

    covers = _covers(graph, instructions)
    quotient: _Quotient = nx.DiGraph()
    quotient.add_nodes_from(range(len(instructions)))
    problems = []
    between: set[tuple[int, int]] = set()
    for before, successors in graph.adjacency():
        first, first_place = covers[before]
        for after, data in successors.items():
            second, second_place = covers[after]
            if first != second:
                between.add((first, second))
            elif not instructions[first].ordered:
                problems.append(_unordered(instructions[first], before, after, data["rules"]))
            elif first_place > second_place:
                problems.append(_wrong_way(instructions[first], before, after, data["rules"]))
    if problems:
        raise Violation("the design breaks the ordering rules", problems=in_order(problems))
    quotient.add_edges_from(between)
    for number, step in enumerate(instructions):
        quotient.add_edges_from((number, covers[op][0]) for op in step.precedes if op in covers)
        quotient.add_edges_from((covers[op][0], number) for op in step.follows if op in covers)
    return _sorted(quotient, instructions)


def _covers(graph: Graph, instructions: Sequence[Step]) -> dict[Operation, tuple[int, int]]:
    """Which instruction covers each operation, and at which place in it."""
    covers: dict[Operation, tuple[int, int]] = {}
    for number, step in enumerate(instructions):
        for place, operation in enumerate(step.covers):
            if operation in covers or operation not in graph:
                raise InternalError(f"{operation} is covered twice, or is not asked for")
            covers[operation] = (number, place)
    if len(covers) != len(graph):
        missing = next(operation for operation in graph if operation not in covers)
        raise InternalError(f"no instruction of the design covers {missing}")
    return covers


def _sorted(quotient: _Quotient, instructions: Sequence[Step]) -> tuple[Step, ...]:
    import networkx as nx  # noqa: PLC0415 - see `lower`

    def key(number: int) -> tuple[object, ...]:
        covers = instructions[number].covers
        if not covers:  # it prepares or tidies up: as early as it may, in the order that was given
            return (False, False, ("", "", "", ""), number)
        # Where the rules leave it open, the machine state goes first: it is the slowest step and the
        # likeliest to fail, and the less is done by then, the less there is to undo.
        # So does what it waits for: else a paused guest's disks would come before it.
        first = (Kind.WRITE_VMSTATE, Kind.ADD_VMSTATE_NODE)
        writes = any(operation.kind in first for operation in covers)
        # A stream goes last: it is slow, and when it ends the nodes are inactive (fact 29).
        streams = any(operation.kind is Kind.BEGIN_STREAM_VMSTATE for operation in covers)
        return (not writes, streams, min(operation.sort_key for operation in covers), number)

    try:
        order = list(nx.lexicographical_topological_sort(quotient, key=key))
    except nx.NetworkXUnfeasible:
        edges = nx.find_cycle(quotient)
        problems = tuple(
            Problem(
                "instructions-entangled",
                instructions[first].execute,
                f"must come wholly before {instructions[second].execute}, and cannot",
            )
            for first, second in edges
        )
        message = "the design's instructions cannot be put in an order"
        raise Violation(message, problems=problems) from None
    return tuple(instructions[number] for number in order)


def _unordered(step: Step, before: Operation, after: Operation, rules: tuple[str, ...]) -> Problem:
    return Problem(
        "no-order-in-a-transaction",
        step.execute,
        f"promises no order, and covers both {before} and {after}, which {' and '.join(rules)} "
        "orders",
    )


def _wrong_way(step: Step, before: Operation, after: Operation, rules: tuple[str, ...]) -> Problem:
    return Problem(rules[0], step.execute, f"does {after} before {before}")
