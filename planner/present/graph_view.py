"""A plan's graph as Mermaid and DOT: operations, the steps around them, the rules between them."""

from __future__ import annotations

from collections.abc import Iterator

from planner.compile.graph import build_graph, canonical_order
from planner.compile.plan import Plan
from planner.model.operations import Operation
from planner.present.visible import visible
from planner.program.program import Step
from planner.program.resolution import operations_of

__all__ = ["dot", "mermaid"]


def _numbered(plan: Plan) -> dict[Operation, str]:
    graph = build_graph(operations_of(plan.program.resolution))
    return {operation: f"n{number}" for number, operation in enumerate(canonical_order(graph))}


def _edges(plan: Plan, ids: dict[Operation, str]) -> list[tuple[str, str, str]]:
    graph = build_graph(operations_of(plan.program.resolution))
    found = [
        (ids[before], ids[after], ", ".join(data["rules"]))
        for before, after, data in graph.edges(data=True)
    ]
    return sorted(found, key=lambda edge: (int(edge[0][1:]), int(edge[1][1:])))


def _covering(plan: Plan) -> Iterator[tuple[int, Step]]:
    """The steps that cover operations, with their numbers; those that only prepare are no part of it."""
    for number, step in enumerate(plan.program.steps, start=1):
        if step.covers:
            yield number, step


def mermaid(plan: Plan) -> str:
    """The graph as a Mermaid flowchart."""
    ids = _numbered(plan)
    lines = ["flowchart TD"]
    for number, step in _covering(plan):
        lines.append(f'  subgraph s{number}["{number}. {_mermaid_quoted(step.execute)}"]')
        lines += [f'    {ids[op]}["{_mermaid_quoted(str(op))}"]' for op in step.covers]
        lines.append("  end")
    lines += [f'  {a} -- "{rules}" --> {b}' for a, b, rules in _edges(plan, ids)]
    return "\n".join(lines) + "\n"


def dot(plan: Plan) -> str:
    """The graph in Graphviz' language."""
    ids = _numbered(plan)
    lines = ["digraph snapshot {", "  rankdir=TB;", "  node [shape=box];"]
    for number, step in _covering(plan):
        lines.append(f"  subgraph cluster_{number} {{")
        lines.append(f"    label={_dot_quoted(f'{number}. {step.execute}')};")
        lines += [f"    {ids[op]} [label={_dot_quoted(str(op))}];" for op in step.covers]
        lines.append("  }")
    lines += [f"  {a} -> {b} [label={_dot_quoted(rules)}];" for a, b, rules in _edges(plan, ids)]
    return "\n".join([*lines, "}"]) + "\n"


def _mermaid_quoted(text: str) -> str:
    return visible(text).replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;")


def _dot_quoted(text: str) -> str:
    escaped = visible(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
