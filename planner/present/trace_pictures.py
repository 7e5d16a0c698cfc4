"""A run of an exploration as a sequence diagram."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from planner.explore.layers import Layers
from planner.explore.line import CLIENT, GUEST, QEMU, Line
from planner.present.trace_view import Explored, Found, story_lines
from planner.present.visible import visible

__all__ = ["trace_mermaid", "trace_svg"]


def _actors(lines: Sequence[Line]) -> list[str]:
    met = list(dict.fromkeys(name for line in lines for name in (line.source, line.target)))
    fixed = [name for name in (GUEST, CLIENT, QEMU) if name in met]
    return [*fixed, *sorted(name for name in met if name not in fixed)]


def trace_mermaid(report: Explored, layers: Layers | None, found: Found | None) -> str:
    """A run as a Mermaid sequence diagram."""
    lines = story_lines(report, layers, found)
    actors = _actors(lines)
    ids = {name: f"p{number}" for number, name in enumerate(actors)}
    out = ["sequenceDiagram", "  autonumber"]
    out += [f"  participant {ids[name]} as {_mermaid(name)}" for name in actors]
    for line in lines:
        arrow = "-x" if line.fault else "->>"
        out.append(f"  {ids[line.source]}{arrow}{ids[line.target]}: {_mermaid(line.brief)}")
    if found is not None:
        note = _mermaid(f"{found.property_id}: {found.why}")
        out.append(f"  Note over {ids[actors[0]]},{ids[actors[-1]]}: {note}")
    return "\n".join(out) + "\n"


def _mermaid(text: str) -> str:
    return visible(text).replace("#", "#35;").replace(";", "#59;").replace('"', "#quot;")


_COLUMN, _ROW, _TOP, _MARGIN = 170, 34, 50, 90


def trace_svg(report: Explored, layers: Layers | None, found: Found | None) -> str:
    """A run as an SVG sequence diagram; it needs nothing beside itself."""
    lines = story_lines(report, layers, found)
    actors = _actors(lines)
    at = {name: _MARGIN + number * _COLUMN for number, name in enumerate(actors)}
    width = 2 * _MARGIN + max(len(actors) - 1, 2) * _COLUMN
    height = _TOP + (len(lines) + 2) * _ROW
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">',
        "<style>text { font: 12px sans-serif }</style>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for name in actors:
        out.append(_svg_text(at[name], 20, name, bold=True))
        bottom = height - _ROW
        out.append(f'<path d="M{at[name]} 30V{bottom}" stroke="#999" stroke-dasharray="4 3"/>')
    for number, line in enumerate(lines, start=1):
        out += _svg_line(number, line, at[line.source], at[line.target])
    if found is not None:
        out.append(
            _svg_text(width // 2, height - 12, f"{found.property_id}: {found.why}", red=True)
        )
    return "\n".join([*out, "</svg>"]) + "\n"


def _svg_line(number: int, line: Line, start: int, end: int) -> list[str]:
    y = _TOP + number * _ROW
    colour = "#b00" if line.fault else "#036"
    label = f"{number}. {line.brief}"
    if start == end:
        return [
            f'<path d="M{start} {y}h30v10h-24" fill="none" stroke="{colour}"/>',
            _svg_text(start + 36, y + 8, label, red=line.fault, anchor="start"),
        ]
    tip = end - 6 if end > start else end + 6
    return [
        f'<path d="M{start} {y}H{tip}" stroke="{colour}"/>',
        f'<path d="M{tip} {y - 4}L{end} {y}L{tip} {y + 4}Z" fill="{colour}"/>',
        _svg_text((start + end) // 2, y - 6, label, red=line.fault),
    ]


def _svg_text(  # noqa: PLR0913 - what a text in a picture needs
    x: int, y: int, text: str, *, bold: bool = False, red: bool = False, anchor: str = "middle"
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    colour = ' fill="#b00"' if red else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{weight}{colour}>{escape(visible(text))}</text>'
