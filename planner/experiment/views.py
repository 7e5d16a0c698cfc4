"""The results for programs (JSON, CSV) and, in a few lines, for a person."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

import attrs

from planner.compare.repeated import Likeness
from planner.experiment.crash_views import CRASH_COLUMNS, crash_lines, crash_to_plain
from planner.experiment.experiment import Kind, axes_of, plain_value, values_words
from planner.experiment.folder import About
from planner.experiment.lockstep_views import (
    LOCKSTEP_COLUMNS,
    lockstep_columns,
    lockstep_lines,
    lockstep_to_plain,
)
from planner.experiment.result import CaseResult, Explored, Measured, Ran, State
from planner.experiment.summary import Compared, OfDesign, compared, in_file_order
from planner.present.compare_plain import contrast_to_plain, figures_to_plain
from planner.present.compare_view import FIGURE_WORDS, contrast_text, spread_text
from planner.present.outputs import output
from planner.present.tables import table
from planner.present.visible import as_lines
from planner.present.words import problem_to_plain

__all__ = [
    "contrast_summary",
    "measured_cells",
    "state_words",
    "why_not",
    "results_csv",
    "results_text",
    "results_to_plain",
    "verdict_words",
]

_FIGURES = (
    "qemu-version",
    "file-system",
    "pause-us",
    "total-us",
    "longest-round-trip-us",
    "vm-state-bytes",
    "files-grown-bytes",
)
_VERDICT = ("violated", "finished", "states", "transitions", "depth")
_COLUMNS = {
    Kind.MEASURE: _FIGURES,
    Kind.EXPLORE: _VERDICT,
    Kind.LOCKSTEP: LOCKSTEP_COLUMNS,
    Kind.CRASH: CRASH_COLUMNS,
}
_RAN = ("host", "machine", "cpus", "load", "began", "seconds", "snapplan")


def results_to_plain(about: About, results: Sequence[CaseResult]) -> dict[str, object]:
    """All results, and what they come to, as plain values."""
    ordered = in_file_order(results, about.vary)
    groups = compared(ordered) if about.kind is Kind.MEASURE else ()
    return output(
        "experiment",
        {
            "experiment": about.name,
            "about": about.about,
            "kind": about.kind.value,
            "vary": {axis: list(about.vary[axis]) for axis in axes_of(about.kind, about.vary)},
            "repeat": about.repeat,
            "seed": about.seed,
            "cases-in-all": about.cases,
            "finished": _finished(about, results),
            "cases": [_case_to_plain(each) for each in ordered],
            "compared": [_group_to_plain(each) for each in groups],
        },
    )


def _finished(about: About, results: Sequence[CaseResult]) -> bool:
    return sum(each.state is not State.FAILED for each in results) == about.cases


def _case_to_plain(result: CaseResult) -> dict[str, object]:
    return {
        "case": result.case,
        "round": result.round,
        "settings": dict(result.settings),
        "state": result.state.value,
        "problems": [problem_to_plain(problem) for problem in result.problems],
        "measured": None if result.measured is None else _measured_to_plain(result.measured),
        "explored": None if result.explored is None else _explored_to_plain(result.explored),
        "lockstep": None if result.lockstep is None else lockstep_to_plain(result.lockstep),
        "crash": None if result.crash is None else crash_to_plain(result.crash),
        "ran": None if result.ran is None else _ran_to_plain(result.ran),
    }


def _measured_to_plain(found: Measured) -> dict[str, object]:
    where = {"qemu-version": found.qemu_version, "file-system": found.file_system}
    return where | figures_to_plain(found)


def _explored_to_plain(found: Explored) -> dict[str, object]:
    return {
        "violated": list(found.violated),
        "finished": found.finished,
        "states": found.states,
        "transitions": found.transitions,
        "depth": found.depth,
    }


def _ran_to_plain(ran: Ran) -> dict[str, object]:
    return {
        "host": ran.host,
        "machine": ran.machine,
        "cpus": ran.cpus,
        "load": ran.load,
        "began": ran.began_s,
        "seconds": ran.seconds,
        "snapplan": ran.snapplan,
    }


def _group_to_plain(group: Compared) -> dict[str, object]:
    return {
        "settings": dict(group.settings),
        "designs": [
            {
                "design": each.design,
                "runs": len(each.runs),
                "ended-otherwise": len(each.ended_otherwise),
                "spread": {name: attrs.asdict(lies) for name, lies in each.spreads.items()},
            }
            for each in group.designs
        ],
        "contrasts": [contrast_to_plain(each) for each in group.contrasts],
    }


def results_csv(about: About, results: Sequence[CaseResult]) -> str:
    """A line a case, in the order of the file (RFC 4180); what there is not is empty."""
    axes = axes_of(about.kind, about.vary)
    columns = _COLUMNS[about.kind]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["case", *axes, "round", "state", "problem", *columns, *_RAN])
    for result in in_file_order(results, about.vary):
        figures, ran = _figures(result), _case_to_plain(result)["ran"]
        settings = [_cell(result.settings.get(axis)) for axis in axes]
        problem = "; ".join(each.words for each in result.problems)
        row = [result.case, *settings, result.round, result.state.value, problem]
        row += [_cell(figures.get(name)) for name in columns]
        row += [_cell(_member(ran, name)) for name in _RAN]
        writer.writerow([_no_formula(each) for each in row])
    return text.getvalue()


def _figures(result: CaseResult) -> Mapping[str, object]:
    """What the case came to, by the columns of its kind."""
    if result.measured is not None:
        return _measured_to_plain(result.measured)
    if result.explored is not None:
        return _explored_to_plain(result.explored)
    if result.lockstep is not None:
        return lockstep_columns(result.lockstep)
    return {} if result.crash is None else crash_to_plain(result.crash)


def _member(plain: object, name: str) -> object:
    return plain.get(name) if isinstance(plain, Mapping) else None


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return plain_value(value)
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _no_formula(value: object) -> object:
    """What a spreadsheet would take for a formula, as text: names and errors are of others."""
    risky = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if risky else value


def results_text(about: About, results: Sequence[CaseResult]) -> str:
    """What the results come to, for a person."""
    return as_lines(_lines(about, results))


def _lines(about: About, results: Sequence[CaseResult]) -> Iterator[str]:
    ordered = in_file_order(results, about.vary)
    yield f"{about.name}: {state_words(about, results)}"
    yield ""
    if about.kind is Kind.EXPLORE:
        yield table([_head(about), *(_explored_row(about, each) for each in ordered)])
    elif about.kind is Kind.LOCKSTEP:
        yield from lockstep_lines(ordered)
    elif about.kind is Kind.CRASH:
        yield from crash_lines(ordered)
    else:
        groups = compared(ordered)
        rows = [_measured_row(about, group, each) for group in groups for each in group.designs]
        yield table([_head(about), *rows])
        yield ""
        for group in groups:
            yield from (
                f"{values_words(group.settings)}: {contrast_text(each)}"
                for each in group.contrasts
                if each.likeness is Likeness.DIFFER
            )
        yield contrast_summary(groups)
        yield "median, and in brackets the quartiles; rounds of chance order"
    in_a_table = about.kind in (Kind.MEASURE, Kind.EXPLORE)
    told = {State.DONE, *({State.REFUSED} if in_a_table else ())}
    for each in (each for each in ordered if each.state not in told):
        yield f"{each.state}: {each.words}: {why_not(each)}"


def state_words(about: About, results: Sequence[CaseResult]) -> str:
    """How many cases there are, and how they ended."""
    counted = {state: sum(each.state is state for each in results) for state in State}
    words = [f"{counted[State.DONE]} of {about.cases} cases done"]
    words += [
        f"{counted[state]} {state}" for state in (State.REFUSED, State.FAILED) if counted[state]
    ]
    return ", ".join(words) + f", seed {about.seed}"


def _head(about: About) -> tuple[str, ...]:
    axes = [axis.upper() for axis in axes_of(about.kind, about.vary)]
    figures = ("RUNS", "PAUSE", "TOTAL") if about.kind is Kind.MEASURE else ("STATES", "VERDICT")
    return (*axes, *figures)


def _explored_row(about: About, result: CaseResult) -> tuple[str, ...]:
    values = [str(_cell(result.settings.get(axis))) for axis in axes_of(about.kind, about.vary)]
    states = "-" if result.explored is None else str(result.explored.states)
    return (*values, states, verdict_words(result))


def verdict_words(result: CaseResult) -> str:
    """What an exploration came to, in words."""
    if result.explored is None:
        return f"{result.state}: {why_not(result)}"
    return (
        "violates " + ", ".join(result.explored.violated) if result.explored.violated else "holds"
    )


def why_not(result: CaseResult) -> str:
    """Why a case has no figures, in words."""
    return "; ".join(problem.words for problem in result.problems) or "nobody can tell"


def _measured_row(about: About, group: Compared, found: OfDesign) -> tuple[str, ...]:
    axes = [axis for axis in axes_of(about.kind, about.vary) if axis != "design"]
    values = [str(_cell(group.settings.get(axis))) for axis in axes]
    if not found.spreads:
        return (*values, found.design, "0", why_not(found.ended_otherwise[0]), "")
    return (*values, found.design, str(len(found.runs)), *measured_cells(found))


def measured_cells(found: OfDesign) -> tuple[str, ...]:
    """Pause and total time of a design, with their quartiles; empty where it was not measured."""
    return tuple(spread_text(found.spreads[name]) if found.spreads else "" for name in FIGURE_WORDS)


def contrast_summary(groups: Sequence[Compared]) -> str:
    """In how many comparisons of each figure designs differ, and in how many no difference is seen."""
    told = []
    for figure, name in FIGURE_WORDS.items():
        here = [each for group in groups for each in group.contrasts if each.figure == figure]
        counted = {like: sum(each.likeness is like for each in here) for like in Likeness}
        words = [f"{counted[like]} {_LIKENESS[like]}" for like in Likeness if counted[like]]
        told.append(f"{name}: of {len(here)} comparisons {', '.join(words) or 'none'}")
    return "; ".join(told)


_LIKENESS = {
    Likeness.DIFFER: "differ",
    Likeness.NO_DIFFERENCE_SEEN: "no difference seen",
    Likeness.TOO_FEW_RUNS: "too few runs to say",
}
