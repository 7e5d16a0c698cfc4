"""Designs side by side, for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from planner.compare.comparison import PROPERTIES, DesignReport, Explored, Measurement
from planner.compare.repeated import FIGURES, Contrast, Likeness, Spread, contrasts, spread
from planner.present.tables import table
from planner.present.visible import as_lines
from planner.present.words import bytes_text

__all__ = [
    "comparison_details",
    "comparison_rows",
    "comparison_text",
    "contrast_text",
    "FIGURE_WORDS",
    "spread_text",
    "PREDICTION_MODEL",
    "runs_of",
    "models_told",
]

_SHOWN = 8
PREDICTION_MODEL = (
    "predicted: memory at 800 MiB/s, 1 ms a disk in a job, 2 ms in a transaction, 0.2 ms a round trip "
    "in the pause (facts 16 and 43); an estimate, no measurement: figures differ by machine"
)
_ONE_RUN = "measured: one run each, which misleads: --repeat 9 says whether designs differ"
_RUNS = (
    "measured: {runs} runs each, in rounds of chance order (seed {seed}): the median, and in brackets "
    "the quartiles; the other figures are of the run with the median pause"
)
_MEASURED = (
    "On one connection no command is answered while QEMU is busy: the "
    "longest round trip and the longest wait for an event stand for the time in which the monitor "
    "is silent. An image that an earlier run let grow grows less in a later one"
)
_SIMULATED = (
    "simulated: the VM was a simulated one, so times are the simulator's and say nothing of QEMU: the "
    "pause by its virtual clock, the others by snapplan's, so that a pause may be longer than its whole "
    "run; what is sent, in which order, and what is inside the pause are as on QEMU"
)


def comparison_text(
    reports: Sequence[DesignReport], *, simulated: bool = False, seed: int = 0
) -> str:
    """A table with a column a design, then what a column is too narrow for.

    Args:
        reports: The designs.
        simulated: Whether what was measured was measured on a simulated VM.
        seed: What the order of several runs followed from.
    """
    return as_lines(_lines(reports, simulated=simulated, seed=seed))


def _lines(reports: Sequence[DesignReport], *, simulated: bool, seed: int) -> Iterator[str]:
    yield table(list(comparison_rows(reports)))
    for report in reports:
        yield ""
        yield from comparison_details(report)
    yield ""
    yield from models_told(reports, simulated=simulated, seed=seed)


def models_told(
    reports: Sequence[DesignReport], *, simulated: bool, seed: int = 0
) -> Iterator[str]:
    """Whether the designs differ, and what the figures mean and do not."""
    yield from map(contrast_text, contrasts(runs_of(reports)))
    if any(report.prediction is not None for report in reports):
        yield PREDICTION_MODEL
    if any(report.measured is not None for report in reports):
        most = max(len(report.runs) for report in reports)
        yield _RUNS.format(runs=most, seed=seed) if most > 1 else _ONE_RUN
        yield _MEASURED
        if simulated:
            yield _SIMULATED


def comparison_rows(reports: Sequence[DesignReport]) -> Iterator[tuple[str, ...]]:
    """The table, its head first: a name, then a cell a design."""
    yield ("DESIGN", *(report.design for report in reports))
    yield ("possible on this VM", *map(_possible, reports))
    for name, cell in _CELLS:
        yield (name, *(cell(report) if _has(report, name) else "-" for report in reports))
        if name == "QMP commands" and any(report.proposed for report in reports):
            yield (
                "proposed commands",
                *(str(len(r.proposed)) if r.proposed else "-" for r in reports),
            )
    if any(report.explored for report in reports):
        yield ("every run, one fault", *map(_explored, reports))
        yield ("or the client dies", *map(_client_dies, reports))
        yield ("and is recovered", *map(_client_recovered, reports))
    if any(report.measured for report in reports):
        for name, figure in _FIGURES:
            cells = (_figure(report, figure) for report in reports)
            yield (name, *cells)


def _has(report: DesignReport, name: str) -> bool:
    """A proposal has no program; its pause is predicted from the work that its run does there."""
    return report.program is not None or (name == "predicted pause" and bool(report.proposed))


def _possible(report: DesignReport) -> str:
    if report.problems:
        return "no"
    return "a proposal" if report.proposed else "yes"


def _explored(report: DesignReport) -> str:
    explored = report.explored
    if explored is None:
        return "-"
    if explored.stops_short:
        return "not explored"
    return _verdict(explored, explored.violated)


def _verdict(explored: Explored, violated: Sequence[str]) -> str:
    verdict = "violates " + ", ".join(violated) if violated else "holds"
    return verdict if explored.finished else f"{verdict}, so far"


def _client_dies(report: DesignReport) -> str:
    explored = report.explored
    if explored is None or explored.stops_short:
        return "-"
    return _verdict(explored, explored.client_dies)


def _client_recovered(report: DesignReport) -> str:
    explored = report.explored
    if explored is None or explored.stops_short:
        return "-"
    return _verdict(explored, explored.client_recovered)


def _round_trips(report: DesignReport) -> str:
    return str(len(report.round_trips)) if report.rehearsal else "-"


def _prediction(report: DesignReport) -> str:
    if report.prediction is None:
        return "none"
    besides = f"{report.prediction.besides_ms:g} ms"
    state = report.prediction.machine_state_ms
    if state is None:
        return f"machine state + {besides}"
    return f"up to {state:.0f} + {besides}" if state else besides


def _ends(report: DesignReport) -> str:
    bad = sorted({fault.end for fault in report.faults} - {"undone", "done"})
    undone = sum(fault.end in ("undone", "done") for fault in report.faults)
    return f"{undone} of {len(report.faults)} undone" + (f" ({', '.join(bad)})" if bad else "")


def _versions(report: DesignReport) -> str:
    return ", ".join(v.version for v in report.versions if not v.problems) or "none"


def _commands(report: DesignReport) -> str:
    files = len(report.on_host)
    return f"{len(report.commands)}" + (f", {files} on the host" if files else "")


_CELLS: tuple[tuple[str, Callable[[DesignReport], str]], ...] = (
    ("machine state", lambda r: r.machine_state + (" (adapted)" if r.adapted else "")),
    ("QMP commands", _commands),
    ("round trips", _round_trips),
    ("sent inside the pause", lambda r: str(r.sent_in_pause)),
    ("predicted pause", _prediction),
    ("properties proved", lambda r: f"{len(r.proved)} of {len(PROPERTIES)}"),
    ("faults", _ends),
    ("QEMU versions", _versions),
)


def _ms(microseconds: int | None) -> str:
    return "none" if microseconds is None else f"{microseconds / 1000:.1f} ms"


def _figure(report: DesignReport, figure: Callable[[DesignReport, Measurement], str]) -> str:
    return figure(report, report.measured) if report.measured else "-"


def _spread_text(report: DesignReport, name: str, alone: int | None) -> str:
    if len(report.runs) < 2:
        return _ms(alone)
    return spread_text(spread([FIGURES[name](run) for run in report.runs]))


def spread_text(lies: Spread) -> str:
    """A figure of several runs: the median, and the quartiles in brackets."""
    return f"{_ms(lies.median)} ({lies.lower / 1000:.1f} to {lies.upper / 1000:.1f})"


FIGURE_WORDS = {"pause-us": "pause", "total-us": "total time"}
"""What a figure is called, by its name."""


def contrast_text(contrast: Contrast) -> str:
    """Whether two designs differ in a figure, in words."""
    figure, least, other = FIGURE_WORDS[contrast.figure], contrast.least, contrast.other
    match contrast.likeness:
        case Likeness.DIFFER:
            return f"{figure}: shorter in {least} than in {other} (chance alone: {contrast.chance:.2%})"
        case Likeness.NO_DIFFERENCE_SEEN:
            return f"{figure}: no difference seen between {least} and {other}"
        case Likeness.TOO_FEW_RUNS:
            return f"{figure}: too few runs to tell {least} from {other}; from 5 on it is said"


def runs_of(reports: Sequence[DesignReport]) -> dict[str, tuple[Measurement, ...]]:
    """The runs of each design that was measured."""
    return {report.design: report.runs for report in reports if report.runs}


_FIGURES: tuple[tuple[str, Callable[[DesignReport, Measurement], str]], ...] = (
    ("measured pause", lambda r, m: _spread_text(r, "pause-us", m.pause_us)),
    ("longest round trip", lambda _, m: f"{_ms(m.longest_us)} ({m.longest_command})"),
    ("longest wait for an event", lambda _, m: _ms(m.silence_us)),
    ("total time", lambda r, m: _spread_text(r, "total-us", m.total_us)),
    ("machine state written", lambda _, m: bytes_text(m.vm_state_bytes)),
    ("image files grew by", lambda _, m: bytes_text(max(m.grown_bytes, 0))),
)


def comparison_details(report: DesignReport) -> Iterator[str]:
    """What a column is too narrow for; the first line is the design."""
    yield report.design
    for note in report.adapted:
        yield f"  adapted: {note}"
    for problem in report.problems:
        yield f"  not possible: {problem}"
    if report.explored is not None and report.explored.stops_short:
        yield f"  not explored: {report.explored.stops_short}"
    if report.proposed:
        yield f"  it is a file, and cannot be sent: {_few(list(report.proposed))}"
    if report.program is None:
        return
    yield from _program_details(report)


def _program_details(report: DesignReport) -> Iterator[str]:
    yield f"  inside the pause: {_few(list(report.inside_pause)) or 'nothing'}"
    for problem in report.broken:
        yield f"  breaks {problem}"
    rows = [
        (
            f"  step {f.step}",
            f.command,
            f.fault,
            f"{f.end}: {_few(list(f.undone)) or 'nothing made'}",
        )
        for f in report.faults
    ]
    yield table(rows)
    for fault in report.faults:
        for problem in fault.left:
            yield f"  step {fault.step}, {fault.fault}, leaves: {problem}"
    for version in report.versions:
        for problem in version.problems:
            yield f"  not on QEMU {version.version}: {problem}"


def _few(words: list[str]) -> str:
    more = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
