"""A plan as a picture (SVG): its steps from above to below, the operations in each, the rules between.

Theory: operations stand where they are done, so every rule points downwards.  Inside of a step they
stand in layers: each below all that must come before it.  A rule that follows from others is not drawn
(the transitive reduction), and many operations of one kind that come after and before the same are one
box, or twenty disks would be a ball of wool.  Rules are named once where they leave a layer, and on each
arrow for who points at it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from planner.compile.graph import build_graph, canonical_order
from planner.compile.plan import Plan
from planner.model.operations import Operation
from planner.present.markup import Markup, element
from planner.program.program import Step
from planner.program.resolution import operations_of

if TYPE_CHECKING:
    from planner.compile.graph import Graph

__all__ = ["plan_svg"]

_BOX_W, _BOX_H, _GAP_X, _GAP_Y, _PAD, _HEAD = 230, 30, 16, 40, 14, 26
_STEP_GAP = 34
_MARGIN = 16
_IN_A_ROW = 4
_LETTERS = 33
"""How many letters a box holds."""
_LETTER_W = 8
_FONT = "sans-serif"

_Node = tuple[Operation, ...]
"""What one box is: an operation, or many that are alike."""


@frozen
class _Box:
    """An operation's place: its upper left corner, and its row in the picture."""

    x: float
    y: float
    row: int


@frozen
class _Drawn:
    """A step's frame."""

    number: int
    step: Step
    top: float
    height: float


def plan_svg(plan: Plan) -> str:
    """Draw a plan."""
    import networkx as nx  # noqa: PLC0415 - it takes its time

    graph = build_graph(operations_of(plan.program.resolution))
    reduced = nx.transitive_reduction(graph)
    boxes, frames, width, height = _placed(plan, graph, reduced)
    edges = _edges(graph, reduced, boxes)
    title = f"Snapshot {plan.program.resolution.tag!r}, design {plan.program.design}"
    width = max(width, 2 * _MARGIN + _LETTER_W * len(title))
    body = [_frame(each, width) for each in frames]
    body += [_arrow(boxes[a], boxes[b], rules) for a, b, rules in edges]
    body += [_box(node, boxes[node]) for node in boxes]
    body += [_head(each) for each in frames]
    body += _labels(boxes, edges)
    whole = element(
        "svg",
        element("title", title),
        _marker(),
        element("text", title, x=str(_MARGIN), y="22", font_weight="bold"),
        *body,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        font_family=_FONT,
        font_size="12",
    )
    return f"{whole}\n"


def _edges(
    graph: Graph, reduced: Graph, boxes: dict[_Node, _Box]
) -> list[tuple[_Node, _Node, str]]:
    """The arrows between boxes, each once, with the rules that it stands for."""
    of = {operation: node for node in boxes for operation in node}
    found: dict[tuple[_Node, _Node], dict[str, None]] = {}
    for a in canonical_order(graph):
        for b in sorted(reduced.successors(a), key=str):
            if a in of and b in of:
                rules = found.setdefault((of[a], of[b]), {})
                rules |= dict.fromkeys(graph.edges[a, b]["rules"])
    return [(a, b, ", ".join(rules)) for (a, b), rules in found.items()]


def _placed(
    plan: Plan, graph: Graph, reduced: Graph
) -> tuple[dict[_Node, _Box], list[_Drawn], float, float]:
    boxes: dict[_Node, _Box] = {}
    frames: list[_Drawn] = []
    y, row, widest = 36.0, 0, 1
    for number, step in enumerate(plan.program.steps, start=1):
        top = y
        y += _HEAD
        for line in _lines(step, graph, reduced):
            widest = max(widest, len(line))
            for at, node in enumerate(line):
                x = _MARGIN + _PAD + at * (_BOX_W + _GAP_X)
                boxes[node] = _Box(x, y, row)
            y += _BOX_H + _GAP_Y
            row += 1
        y += _PAD - (_GAP_Y if step.covers else _PAD - 4)
        frames.append(_Drawn(number, step, top, y - top))
        y += _STEP_GAP
    width = 2 * (_MARGIN + _PAD) + widest * (_BOX_W + _GAP_X) - _GAP_X
    return boxes, frames, width, y - _STEP_GAP + _MARGIN


def _lines(step: Step, graph: Graph, reduced: Graph) -> Iterator[Sequence[_Node]]:
    """A step's operations by layers, each in lines that are not too long."""
    import networkx as nx  # noqa: PLC0415 - as above

    inside = graph.subgraph(step.covers)
    place = {operation: at for at, operation in enumerate(step.covers)}
    for layer in nx.topological_generations(inside):
        line = _together(sorted(layer, key=place.__getitem__), reduced)
        yield from (line[at : at + _IN_A_ROW] for at in range(0, len(line), _IN_A_ROW))


def _together(layer: Sequence[Operation], reduced: Graph) -> list[_Node]:
    """A layer's boxes: many operations of one kind that come after and before the same are one."""
    alike: dict[object, list[Operation]] = {}
    for each in layer:
        around = (frozenset(reduced.predecessors(each)), frozenset(reduced.successors(each)))
        alike.setdefault((each.kind, around), []).append(each)
    return [
        node
        for group in alike.values()
        for node in ([tuple(group)] if len(group) > _IN_A_ROW else [(each,) for each in group])
    ]


def _marker() -> Markup:
    head = element("path", d="M0,0 L8,4 L0,8 z", fill="#666")
    size = {"markerWidth": "8", "markerHeight": "8", "refX": "7", "refY": "4", "orient": "auto"}
    return element("defs", element("marker", head, id="head", **size))


def _frame(drawn: _Drawn, width: float) -> Markup:
    return element(
        "rect",
        x=str(_MARGIN),
        y=f"{drawn.top:g}",
        width=f"{width - 2 * _MARGIN:g}",
        height=f"{drawn.height:g}",
        rx="6",
        fill="#f4f6f8",
        stroke="#9aa5b1",
    )


def _head(drawn: _Drawn) -> Markup:
    """What a step is called, to be read where an arrow passes too."""
    words = f"{drawn.number}. {drawn.step.execute}"
    if drawn.step.atomic:
        words += " (all or nothing)"
    x, y = str(_MARGIN + 10), f"{drawn.top + 18:g}"
    halo = {"stroke": "#f4f6f8", "stroke_width": "4", "paint_order": "stroke"}
    return element("text", words, x=x, y=y, font_weight="bold", fill="#333", **halo)


def _box(node: _Node, box: _Box) -> Markup:
    words = ", ".join(map(str, node))
    if len(node) > 1:
        short = f"{node[0].kind.value} of {len(node)} disks"
    else:
        short = words if len(words) <= _LETTERS else f"{words[: _LETTERS - 1]}…"
    frame = element(
        "rect",
        x=f"{box.x:g}",
        y=f"{box.y:g}",
        width=str(_BOX_W),
        height=str(_BOX_H),
        rx="4",
        fill="#dce9f7",
        stroke="#5b7fa6",
    )
    x, y = f"{box.x + _BOX_W / 2:g}", f"{box.y + 19:g}"
    label = element("text", short, x=x, y=y, text_anchor="middle", fill="#111")
    return element("g", element("title", words), frame, label)


def _arrow(a: _Box, b: _Box, rules: str) -> Markup:
    x1, y1, x2, y2 = a.x + _BOX_W / 2, a.y + _BOX_H, b.x + _BOX_W / 2, b.y - 1
    bend = max((y2 - y1) / 2, 10)
    path = f"M{x1:g},{y1:g} C{x1:g},{y1 + bend:g} {x2:g},{y2 - bend:g} {x2:g},{y2:g}"
    line = element("path", d=path, fill="none", stroke="#666", marker_end="url(#head)")
    return element("g", element("title", rules), line)


def _labels(boxes: dict[_Node, _Box], edges: Sequence[tuple[_Node, _Node, str]]) -> list[Markup]:
    """The rules in words, each once for what leaves one row."""
    told: set[tuple[int, str]] = set()
    taken: dict[int, int] = {}
    found = []
    for a, _, rules in edges:
        box = boxes[a]
        if (box.row, rules) in told:
            continue
        told.add((box.row, rules))
        line = taken[box.row] = taken.get(box.row, 0) + 1
        x, y = f"{box.x + _BOX_W / 2 + 6:g}", f"{box.y + _BOX_H + 2 + 11 * line:g}"
        found.append(element("text", rules, x=x, y=y, font_size="10", fill="#8a4b08"))
    return found
