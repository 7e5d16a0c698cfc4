"""A comparison as one HTML page: the table, the picture, and what of each design is worth a look."""

from __future__ import annotations

from collections.abc import Sequence

from planner.compare.comparison import DesignReport
from planner.present.compare_view import comparison_details, comparison_rows, models_told
from planner.present.markup import Markup, element, page
from planner.present.timeline import timeline_svg
from planner.present.visible import guard

__all__ = ["comparison_page"]


def comparison_page(
    title: str, reports: Sequence[DesignReport], *, simulated: bool = False, seed: int = 0
) -> str:
    """The page.

    Args:
        title: What was compared.
        reports: The designs.
        simulated: Whether what was measured was measured on a simulated VM.
        seed: What the order of several runs followed from.
    """
    head, *rows = comparison_rows(reports)
    lines = [element("tr", *(element("th", cell) for cell in head))]
    lines += [_row(row) for row in rows]
    details = [_details(report) for report in reports]
    models = models_told(reports, simulated=simulated, seed=seed)
    told = [element("p", each, class_="soft") for each in models]
    picture = element("div", Markup(guard(timeline_svg(reports))), class_="wide")
    table = element("div", element("table", *lines), class_="wide")
    return page(title, table, element("h2", "Commands and pause"), picture, *details, *told)


def _row(row: Sequence[str]) -> Markup:
    name, *cells = row
    marks = {"yes": "yes", "no": "no"}
    found = [
        element("td", cell, class_=marks[cell]) if cell in marks else element("td", cell)
        for cell in cells
    ]
    return element("tr", element("th", name), *found)


def _details(report: DesignReport) -> Markup:
    _, *lines = comparison_details(report)
    text = "\n".join(lines) or "nothing to add"
    return element("section", element("h2", report.design), element("pre", text))
