"""What crash cases came to: for programs, for a person, and on the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.experiment.experiment import AXES, Kind, Value, plain_value
from planner.experiment.result import CaseResult, Crashed
from planner.present.markup import Markup, element
from planner.present.tables import table

__all__ = ["CRASH_COLUMNS", "crash_elements", "crash_lines", "crash_to_plain"]

CRASH_COLUMNS = ("qemu-version", "killed", "end", "whole", "left", "findings")
"""The columns of CSV."""

_AXES = tuple(axis for axis in AXES[Kind.CRASH] if axis != "design")


def crash_to_plain(found: Crashed) -> dict[str, object]:
    """The result of a case as plain values."""
    return {
        "qemu-version": found.qemu_version,
        "killed": found.killed,
        "end": found.end,
        "whole": found.whole,
        "left": list(found.left),
        "findings": list(found.findings),
    }


def crash_lines(results: Sequence[CaseResult]) -> Iterator[str]:
    """A line a case, and below them all that is left or wrong."""
    head = (*(axis.upper() for axis in (*_AXES, "design")), "KILLED", "CAME TO")
    rows = [
        (*(plain_value(result.settings[axis]) for axis in (*_AXES, "design")), *_cells(result))
        for result in results
        if result.crash is not None
    ]
    yield table([head, *rows])
    yield from _wrong(results)


def crash_elements(results: Sequence[CaseResult], designs: Sequence[str]) -> Iterator[Markup]:
    """The same for the page: a row for each choice of the other values, a column a design."""
    yield element("h2", "What recovery came to")
    rows: dict[tuple[Value, ...], dict[str, list[CaseResult]]] = {}
    for result in results:
        key = tuple(result.settings[axis] for axis in _AXES)
        rows.setdefault(key, {}).setdefault(str(result.settings["design"]), []).append(result)
    lines = [element("tr", *(element("th", name) for name in (*_AXES, *designs)))]
    for values, found in rows.items():
        cells = [element("td", plain_value(value)) for value in values]
        lines.append(element("tr", *cells, *(_cell(found.get(name, ())) for name in designs)))
    yield element("div", element("table", *lines), class_="wide")
    wrong = list(_wrong(results))
    if wrong:
        yield element("h2", "What is left or wrong")
        yield element("ul", *(element("li", line, class_="text") for line in wrong))


def _cell(found: Sequence[CaseResult]) -> Markup:
    """All rounds of one choice of values."""
    if not found:
        return element("td", "not run yet", class_="soft")
    crashes = [each.crash for each in found if each.crash is not None]
    told = dict.fromkeys(_cells(each) if each.crash else ("", str(each.state)) for each in found)
    parts = [part for killed, end in told for part in (element("div", end), _soft(killed)) if part]
    if not crashes:
        return element("td", *parts, class_="soft")
    return element("td", *parts, class_="yes" if all(map(_good, crashes)) else "no")


def _soft(text: str) -> Markup:
    return element("div", f"killed {text}", class_="soft") if text else Markup()


def _cells(result: CaseResult) -> tuple[str, str]:
    found = result.crash
    if found is None:
        return "", str(result.state)
    end = {"nothing": "nothing to recover"}.get(found.end, found.end)
    if found.left:
        end += ", something is left"
    if not found.whole:
        end += ", not whole"
    return found.killed or "not reached", end


def _good(found: Crashed) -> bool:
    return found.whole and not found.left


def _wrong(results: Sequence[CaseResult]) -> Iterator[str]:
    for result in results:
        found = result.crash
        if found is not None:
            yield from (f"left: {result.words}: {words}" for words in found.left)
            yield from (f"wrong: {result.words}: {words}" for words in found.findings)
