"""The plots of an experiment, as SVG inside of a page: matplotlib draws them (an extra).

Rules: text stays text, in the reader's own font, so a page is small and can be searched.  No name is
taken for mathematics or markup.  A plot names nothing outside of itself, and the same results give the
same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from planner.compare.comparison import Measurement
from planner.compare.repeated import FIGURES
from planner.errors import Problem, Refused
from planner.experiment.experiment import values_words
from planner.experiment.result import CaseResult
from planner.experiment.summary import Compared, OfDesign
from planner.present.markup import Markup
from planner.present.visible import guard

__all__ = ["course_plot", "explored_plot", "figures_plot", "plotting", "timelines_plot"]

_COLOURS = ("#1f77b4", "#d95f02", "#2e8b57", "#7b3294", "#b8860b", "#c51b7d")
_MARKERS = "os^DvP"
_SENT, _PAUSED, _RUNS = "#7f9fc6", "#d98880", "#8fbf8f"
_WIDE_IN, _COLUMNS = 11.0, 3
_NAMES = {"pause-us": "guest's pause, ms", "total-us": "total time, ms"}
_LONG, _TITLE, _BAND = 28, 60, 80
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "snapplan",
    "text.parse_math": False,
    "axes.unicode_minus": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_HEAD = re.compile(r"^.*?(?=<svg )", re.DOTALL)
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_NAMESPACES = re.compile(r' xmlns(:xlink)?="[^"]*"')


@contextmanager
def plotting() -> Iterator[Any]:
    """The class of figures, under our settings.

    Raises:
        Refused: matplotlib is not installed (``extra-missing``).
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra, and it takes its time
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        remedy = "pip install 'snapplan[experiments]'"
        message = "plots are drawn by matplotlib, which is not installed"
        raise Refused.of(Problem("extra-missing", "matplotlib", message, remedy)) from error
    with mpl.rc_context(_SETTINGS):
        yield Figure


def figures_plot(figure_class: Any, groups: Sequence[Compared], along: str, figure: str) -> Markup:
    """A figure of each design along one axis; a panel for each choice of the other values.

    Args:
        figure_class: From `plotting`.
        groups: The designs side by side.
        along: The axis from left to right; its values are numbers.
        figure: Which figure, by its name.
    """
    designs = _designs(groups)

    def draw(panel: Any, inside: Sequence[Compared]) -> None:
        for at, design in enumerate(designs):
            found = _places(inside, along, design)
            if found:
                _draw_design(panel, found, figure, at)

    ticks = sorted({int(group.settings[along]) for group in groups})
    panels = [
        (title, partial(draw, inside=inside), ticks) for title, inside in _panels(groups, along)
    ]
    drawn = _in_panels(figure_class, panels, 2.9, along, _NAMES[figure])
    return _svg(drawn, f"{_NAMES[figure]} by {along}")


def _in_panels(
    figure_class: Any,
    panels: Sequence[tuple[str, Callable[[Any], None], Sequence[int]]],
    height_in: float,
    along: str,
    upwards: str,
) -> Any:
    """A figure of panels side by side, which have their scales and one legend in common.

    Args:
        figure_class: From `plotting`.
        panels: Of each, its title, what draws it, and the values that its axis from left to right has.
        height_in: Of a row of them, in inches.
        along: What that axis is.
        upwards: What the other one is.
    """
    rows, columns = _grid(len(panels))
    drawn = figure_class(figsize=(_WIDE_IN, 0.6 + height_in * rows), layout="constrained")
    axes = drawn.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for number, (title, draw, ticks) in enumerate(panels):
        panel = axes[number // columns][number % columns]
        panel.set_title(_short(title, _TITLE), fontsize=8)
        draw(panel)
        _scales(panel, ticks)
    for empty in range(len(panels), rows * columns):
        axes[empty // columns][empty % columns].set_visible(False)
    drawn.supxlabel(guard(along))
    drawn.supylabel(upwards)
    handles, labels = axes[0][0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return drawn


def _places(inside: Sequence[Compared], along: str, design: str) -> list[tuple[int, OfDesign]]:
    """A design's runs by their place on the axis from left to right."""
    found = [(int(group.settings[along]), each) for group in inside for each in group.designs]
    here = [(place, each) for place, each in found if each.design == design and each.runs]
    return sorted(here, key=lambda pair: pair[0])


def _draw_design(panel: Any, here: Sequence[tuple[int, OfDesign]], figure: str, at: int) -> None:
    """Median and quartiles as a line with bars, every run as a point."""
    colour, marker = _COLOURS[at % len(_COLOURS)], _MARKERS[at % len(_MARKERS)]
    shift = 1 + 0.04 * at  # points of two designs do not hide each other
    places = [place * shift for place, _ in here]
    lies = [each.spreads[figure] for _, each in here]
    middle = [spread.median / 1000 for spread in lies]
    below = [(spread.median - spread.lower) / 1000 for spread in lies]
    above = [(spread.upper - spread.median) / 1000 for spread in lies]
    panel.errorbar(
        places,
        middle,
        yerr=[below, above],
        color=colour,
        marker=marker,
        markersize=5,
        linewidth=1.4,
        capsize=3,
        label=_short(here[0][1].design),
    )
    of_run = FIGURES[figure]
    for place, (_, each) in zip(places, here, strict=True):
        heights = [of_run(run) / 1000 for run in each.runs]
        panel.plot([place] * len(heights), heights, ".", color=colour, markersize=2.5, alpha=0.5)


def _scales(panel: Any, ticks: Sequence[int]) -> None:
    if len(ticks) > 1 and ticks[0] > 0 and ticks[-1] / ticks[0] > 10:
        panel.set_xscale("log")
    panel.set_xticks(ticks, [str(tick) for tick in ticks])
    panel.set_xticks([], minor=True)
    panel.set_yscale("log")
    for axis in (panel.yaxis.set_major_formatter, panel.yaxis.set_minor_formatter):
        axis(lambda value, _: f"{value:g}" if f"{value:g}"[0] in "125" else "")
    panel.grid(visible=True, alpha=0.25)


def course_plot(figure_class: Any, results: Sequence[CaseResult]) -> Markup:
    """The experiment itself over time: how long each case took, and the machine's load at its begin."""
    ran = [each.ran for each in results if each.ran is not None]
    if not ran:
        return Markup()
    begin = min(each.began_s for each in ran)
    drawn = figure_class(figsize=(_WIDE_IN, 2.6), layout="constrained")
    panel = drawn.subplots()
    hosts = sorted({each.host for each in ran})
    for at, host in enumerate(hosts):
        here = sorted((each for each in ran if each.host == host), key=lambda each: each.began_s)
        minutes = [(each.began_s - begin) / 60 for each in here]
        colour = _COLOURS[at % len(_COLOURS)]
        panel.plot(
            minutes,
            [each.load for each in here],
            color=colour,
            linewidth=1,
            label=_short(f"load of {host}"),
        )
        panel.plot(
            minutes,
            [each.seconds for each in here],
            ".",
            color=colour,
            markersize=3,
            label=_short(f"seconds a case took, {host}"),
        )
    panel.set_xlabel("minutes since the first case")
    panel.set_ylim(bottom=0)
    panel.grid(visible=True, alpha=0.25)
    panel.legend(frameon=False, fontsize=8, ncols=2)
    return _svg(drawn, "load of the machine while the experiment ran")


def timelines_plot(figure_class: Any, found: Sequence[tuple[str, OfDesign]]) -> Markup:
    """What a typical run sends, and how long the guest stands still: a band a design, one scale.

    Args:
        figure_class: From `plotting`.
        found: What is drawn, from above: a title and a design with a typical run.
    """
    drawn = figure_class(figsize=(_WIDE_IN, 0.9 + 0.62 * len(found)), layout="constrained")
    panel = drawn.subplots()
    titles = []
    for at, (title, each) in enumerate(found):
        if each.typical is not None:
            _draw_run(panel, each.typical, at)
        titles.append(_short(title, _BAND))
    panel.set_yticks(range(len(titles)), titles, fontsize=7)
    panel.invert_yaxis()
    panel.set_xlabel(
        "ms since the first command; above the guest (red: it stands), below the commands"
    )
    panel.set_xlim(left=0)
    panel.grid(visible=True, axis="x", alpha=0.25)
    return _svg(drawn, "commands and pause of a typical run of each design")


def _draw_run(panel: Any, run: Measurement, at: int) -> None:
    end = max([run.total_us, *(span.end for span in run.spans)])
    panel.broken_barh([(0, end / 1000)], (at - 0.38, 0.3), facecolors=_RUNS)
    stopped: int | None = None
    for name, moment in (*run.pauses, ("RESUME", end)):
        if name == "STOP" and stopped is None:
            stopped = moment
        elif name == "RESUME" and stopped is not None:
            width = (moment - stopped) / 1000
            panel.broken_barh([(stopped / 1000, width)], (at - 0.38, 0.3), facecolors=_PAUSED)
            stopped = None
    for span in run.spans:
        begin, width = span.begin / 1000, (span.end - span.begin) / 1000
        panel.broken_barh([(begin, width)], (at, 0.3), facecolors=_SENT, edgecolors="#ffffff")
        if width > end / 1000 / 12:
            panel.text(begin + width / 2, at + 0.15, guard(span.command), **_CENTRED)


_CENTRED: Mapping[str, Any] = {"ha": "center", "va": "center", "fontsize": 7}


def explored_plot(figure_class: Any, results: Sequence[CaseResult], along: str) -> Markup:
    """How many states an exploration has along one axis: a panel for each set of faults."""
    found: dict[str, dict[str, list[tuple[int, int]]]] = {}
    for each in results:
        if each.explored is None:
            continue
        others = {k: v for k, v in each.settings.items() if k not in {along, "design"}}
        lines = found.setdefault(values_words(others), {})
        points = lines.setdefault(str(each.settings["design"]), [])
        points.append((int(each.settings[along]), each.explored.states))
    panels = [
        (
            title,
            partial(_draw_lines, lines=lines),
            sorted({place for points in lines.values() for place, _ in points}),
        )
        for title, lines in found.items()
    ]
    drawn = _in_panels(figure_class, panels, 2.6, along, "states")
    return _svg(drawn, "how many states an exploration has")


def _draw_lines(panel: Any, lines: Mapping[str, Sequence[tuple[int, int]]]) -> None:
    for at, (design, points) in enumerate(lines.items()):
        colour, marker = _COLOURS[at % len(_COLOURS)], _MARKERS[at % len(_MARKERS)]
        places, states = zip(*sorted(points), strict=True)
        style = {"color": colour, "marker": marker, "linewidth": 1.2, "markersize": 4}
        panel.plot(places, states, label=_short(design), **style)


def _panels(groups: Sequence[Compared], along: str) -> list[tuple[str, list[Compared]]]:
    varied = {
        axis
        for axis in groups[0].settings
        if axis != along and len({group.settings[axis] for group in groups}) > 1
    }
    found: dict[str, list[Compared]] = {}
    for group in groups:
        shown = {axis: value for axis, value in group.settings.items() if axis in varied}
        found.setdefault(values_words(shown), []).append(group)
    return list(found.items())


def _grid(count: int) -> tuple[int, int]:
    columns = min(count, _COLUMNS)
    return -(-count // columns), columns


def _designs(groups: Sequence[Compared]) -> list[str]:
    return list(dict.fromkeys(each.design for group in groups for each in group.designs))


def _short(text: str, limit: int = _LONG) -> str:
    """A name that a legend shows: one that begins with _ is none to matplotlib."""
    shown = guard(text).replace("\n", " ")
    shown = shown if len(shown) <= limit else f"{shown[: limit - 1]}…"
    return f" {shown}" if shown.startswith("_") else shown


def _svg(drawn: Any, title: str) -> Markup:
    """The figure as an element of a page: no prologue, no metadata, nothing that leads elsewhere."""
    text = io.StringIO()
    drawn.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    bare = _NAMESPACES.sub("", _METADATA.sub("", _HEAD.sub("", text.getvalue())))
    return Markup(bare.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1))
