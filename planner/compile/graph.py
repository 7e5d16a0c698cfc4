"""Operations and rules into one graph, and the graph into one canonical order.

The graph knows no design: it says what must hold for any.  Its nodes are operations, its edges carry
the ids of the rules that demand them.  The canonical order is the smallest one by the operations'
sort keys among all that keep the edges, so it depends neither on the order of insertion nor on
hashing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from planner.compile.rules import RULES, Operations, Rule
from planner.errors import InternalError, Problem
from planner.model.operations import Operation

if TYPE_CHECKING:
    import networkx as nx

    Graph = nx.DiGraph[Operation]

__all__ = ["Graph", "build_graph", "canonical_order", "cycle_error"]


def build_graph(operations: Iterable[Operation], rules: Sequence[Rule] = RULES) -> Graph:
    """Build the graph of a snapshot's operations.

    Args:
        operations: Each once, in any order.
        rules: The ordering rules; other than `RULES` only in tests and explorations.

    Returns:
        A graph whose edges have an attribute ``rules``: a tuple of rule ids.
    """
    import networkx as nx  # noqa: PLC0415 - it takes its time, and only a compiler needs it

    nodes = list(operations)
    graph: Graph = nx.DiGraph()
    graph.add_nodes_from(nodes)
    index = Operations.of(nodes)
    for rule in rules:
        demanded = list(rule.edges(index))
        mark = (rule.id,)
        again = [(pair, graph.edges[pair]["rules"]) for pair in demanded if graph.has_edge(*pair)]
        graph.add_edges_from(demanded, rules=mark)
        for pair, marks in again:
            graph.edges[pair]["rules"] = marks + mark
    return graph


def canonical_order(graph: Graph) -> list[Operation]:
    """Order the operations so that every edge holds; the same for equal graphs, always.

    Raises:
        InternalError: The rules contradict each other; each edge of a cycle is a problem.
    """
    import networkx as nx  # noqa: PLC0415 - see `build_graph`

    try:
        return list(nx.lexicographical_topological_sort(graph, key=lambda node: node.sort_key))
    except nx.NetworkXUnfeasible:
        raise cycle_error(graph) from None


def cycle_error(graph: Graph) -> InternalError:
    """Report one cycle of a graph, edge by edge, each with the rules that demand it."""
    import networkx as nx  # noqa: PLC0415 - see `build_graph`

    edges = nx.find_cycle(graph)
    problems = tuple(
        Problem(
            "ordering-cycle",
            str(before),
            f"must come before {after}, by {' and '.join(graph[before][after]['rules'])}",
        )
        for before, after in edges
    )
    walk = " -> ".join([*(str(before) for before, _ in edges), str(edges[0][0])])
    return InternalError(
        f"the ordering rules contradict each other: {walk}",
        problems=problems,
        code="ordering-cycle",
    )
