"""The results as one HTML page, with plots and timelines, that opens without a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from planner.compare.repeated import Likeness
from planner.experiment.crash_views import crash_elements
from planner.experiment.experiment import Kind, Value, axes_of, plain_value, values_words
from planner.experiment.folder import About
from planner.experiment.lockstep_views import lockstep_elements
from planner.experiment.plots import (
    course_plot,
    explored_plot,
    figures_plot,
    plotting,
    timelines_plot,
)
from planner.experiment.result import CaseResult, State
from planner.experiment.summary import Compared, OfDesign, compared, in_file_order
from planner.experiment.views import (
    contrast_summary,
    measured_cells,
    state_words,
    verdict_words,
    why_not,
)
from planner.present.compare_view import contrast_text
from planner.present.markup import Markup, element, page

__all__ = ["results_page"]

_NUMBERS = ("disks", "memory-mib", "dirty-mib-per-s")
_READING = (
    "Points are single runs, marks are medians, bars are quartiles. Designs differ where of all ways "
    "to deal the same figures out at most one in a hundred sets their ranks as far apart; each "
    "comparison is judged by itself, so of a hundred comparisons of equals about one is told as a "
    "difference. No difference seen is no proof that there is none."
)


def results_page(about: About, results: Sequence[CaseResult]) -> str:
    """The page.

    Raises:
        Refused: matplotlib is not installed (``extra-missing``).
    """
    ordered = in_file_order(results, about.vary)
    with plotting() as figure_class:
        content = [
            element("p", about.about),
            element("p", state_words(about, results)),
            *_where(ordered),
        ]
        if about.kind is Kind.LOCKSTEP:
            content += lockstep_elements(ordered)
        elif about.kind is Kind.CRASH:
            content += crash_elements(ordered, [str(design) for design in about.vary["design"]])
        else:
            drawn = _measured if about.kind is Kind.MEASURE else _explored
            content += drawn(figure_class, about, ordered)
        content += _failures(ordered)
        course = course_plot(figure_class, ordered)
        if course:
            content += [element("h2", "The run itself"), element("div", course, class_="wide")]
    return page(about.name, *content)


def _where(results: Sequence[CaseResult]) -> Iterator[Markup]:
    """The machines, and their load: figures of another machine are other figures."""
    ran = [each.ran for each in results if each.ran is not None]
    for host in sorted({each.host for each in ran}):
        here = [each for each in ran if each.host == host]
        loads = sorted(each.load for each in here)
        first, last = (_moment(at([each.began_s for each in here])) for at in (min, max))
        versions = ", ".join(sorted({each.snapplan for each in here}))
        words = (
            f"{host}: {here[0].machine}, {here[0].cpus} processors; {len(here)} cases from {first} to "
            f"{last} UTC; load when a case began: {loads[0]:g} to {loads[-1]:g}, median "
            f"{loads[len(loads) // 2]:g}; snapplan {versions}"
        )
        yield element("p", words, class_="soft")
    measured = [each.measured for each in results if each.measured is not None]
    qemus = {each.qemu_version for each in measured}
    qemus |= {each.lockstep.qemu_version for each in results if each.lockstep is not None}
    qemus |= {each.crash.qemu_version for each in results if each.crash is not None}
    told = [f"QEMU {', '.join(sorted(qemus))}"] if qemus else []
    if measured:
        places = ", ".join(sorted({each.file_system or "unknown" for each in measured}))
        told.append(f"images on {places}")
    if told:
        yield element("p", "; ".join(told), class_="soft")


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def _measured(
    figure_class: object, about: About, results: Sequence[CaseResult]
) -> Iterator[Markup]:
    groups = tuple(each for each in compared(results) if any(one.runs for one in each.designs))
    if not groups:
        return
    along = next((axis for axis in _NUMBERS if len(about.vary[axis]) > 1), _NUMBERS[0])
    yield element("h2", "Do the designs differ?")
    yield element("p", contrast_summary(groups))
    differ = [
        f"{values_words(group.settings)}: {contrast_text(each)}"
        for group in groups
        for each in group.contrasts
        if each.likeness is Likeness.DIFFER
    ]
    if differ:
        yield element("ul", *(element("li", line) for line in differ))
    yield element("p", _READING, class_="soft")
    for figure, title in (("pause-us", "The guest's pause"), ("total-us", "The whole run")):
        yield element("h2", title)
        yield element("div", figures_plot(figure_class, groups, along, figure), class_="wide")
    yield element("h2", "Typical runs by time")
    yield element("div", timelines_plot(figure_class, list(_typical(groups))), class_="wide")
    yield element("h2", "All figures")
    yield element("div", _table(about, groups), class_="wide")


def _typical(groups: Sequence[Compared]) -> Iterator[tuple[str, OfDesign]]:
    """The least and the most of the first axis that is a number: a page is no book."""
    shown = (groups[0], groups[-1]) if len(groups) > 1 else groups
    varied = {
        axis for axis in groups[0].settings if len({group.settings[axis] for group in groups}) > 1
    }
    for group in shown:
        words = values_words({k: v for k, v in group.settings.items() if k in varied})
        for each in group.designs:
            if each.typical is not None:
                yield f"{each.design} ({words})" if words else each.design, each


def _table(about: About, groups: Sequence[Compared]) -> Markup:
    axes = [axis for axis in axes_of(about.kind, about.vary) if axis != "design"]
    head = [*axes, "design", "runs", "pause", "total", "compared with the least"]
    rows = []
    for group in groups:
        said = {each.other: each for each in group.contrasts if each.figure == "pause-us"}
        for each in group.designs:
            cells = [element("td", plain_value(group.settings[axis])) for axis in axes]
            cells += [element("td", each.design), element("td", str(len(each.runs)))]
            cells += [element("td", cell) for cell in measured_cells(each)]
            mark = said.get(each.design)
            words = "" if mark is None else f"pause: {mark.likeness.value.replace('-', ' ')}"
            rows.append(element("tr", *cells, element("td", words)))
    return element("table", element("tr", *(element("th", name) for name in head)), *rows)


def _explored(
    figure_class: object, about: About, results: Sequence[CaseResult]
) -> Iterator[Markup]:
    yield element("h2", "Verdicts")
    yield element("div", _verdicts(about, results), class_="wide")
    if len(about.vary["disks"]) > 1 and any(each.explored for each in results):
        yield element("h2", "How large the searches are")
        yield element("div", explored_plot(figure_class, results, "disks"), class_="wide")


def _verdicts(about: About, results: Sequence[CaseResult]) -> Markup:
    """A row for each choice of the other values, a column a design."""
    axes = [axis for axis in axes_of(about.kind, about.vary) if axis != "design"]
    designs = [str(design) for design in about.vary["design"]]
    rows: dict[tuple[Value, ...], dict[str, CaseResult]] = {}
    for each in results:
        key = tuple(each.settings[axis] for axis in axes)
        rows.setdefault(key, {})[str(each.settings["design"])] = each
    lines = [element("tr", *(element("th", name) for name in (*axes, *designs)))]
    for values, found in rows.items():
        cells = [element("td", plain_value(value)) for value in values]
        lines.append(element("tr", *cells, *(_verdict(found.get(name)) for name in designs)))
    return element("table", *lines)


def _verdict(found: CaseResult | None) -> Markup:
    if found is None:
        return element("td", "not run yet", class_="soft")
    words = verdict_words(found)
    if found.explored is None:
        return element("td", words, class_="soft")
    states = element("div", f"{found.explored.states} states", class_="soft")
    return element("td", words, states, class_="no" if found.explored.violated else "yes")


def _failures(results: Sequence[CaseResult]) -> Iterator[Markup]:
    other = [each for each in results if each.state is not State.DONE]
    if not other:
        return
    yield element("h2", "Cases without figures")
    lines = [f"{each.state}: {each.words}: {why_not(each)}" for each in other]
    yield element("ul", *(element("li", line, class_="text") for line in lines))
