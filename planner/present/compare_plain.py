"""Designs side by side, for programs."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from planner.compare.comparison import DesignReport, Explored, Measurement
from planner.compare.predicting import Prediction
from planner.compare.repeated import FIGURES, Contrast, contrasts, spread
from planner.present.compare_view import PREDICTION_MODEL, runs_of
from planner.present.outputs import decimal, output
from planner.present.words import problem_to_plain

__all__ = ["comparison_to_plain", "contrast_to_plain", "figures_to_plain"]


def comparison_to_plain(
    reports: Sequence[DesignReport], *, simulated: bool = False, seed: int = 0
) -> dict[str, object]:
    """What `comparison_text` says, as plain values."""
    return output(
        "compare",
        {
            "simulated": simulated,
            "prediction-model": PREDICTION_MODEL,
            "designs": [_report_to_plain(report) for report in reports],
            "seed": seed,
            "contrasts": [contrast_to_plain(each) for each in contrasts(runs_of(reports))],
        },
    )


def _report_to_plain(report: DesignReport) -> dict[str, object]:
    plain: dict[str, object] = {
        "design": report.design,
        "possible": not report.problems,
        "problems": [problem_to_plain(problem) for problem in report.problems],
        "adapted": list(report.adapted),
        "explored": None if report.explored is None else _explored_to_plain(report.explored),
    }
    if report.proposed:
        plain["proposed-commands"] = list(report.proposed)
        plain["predicted-pause"] = _prediction_to_plain(report.prediction)
    if report.program is None or report.rehearsal is None:
        return plain
    return plain | {
        "machine-state": report.machine_state,
        "qmp-commands": list(report.commands),
        "host-steps": list(report.on_host),
        "round-trips": [list(together) for together in report.round_trips],
        "sent-inside-pause": report.sent_in_pause,
        "inside-pause": list(report.inside_pause),
        "predicted-pause": _prediction_to_plain(report.prediction),
        "proved": list(report.proved),
        "broken": [problem_to_plain(problem) for problem in report.broken],
        "faults": [
            {
                "step": fault.step,
                "command": fault.command,
                "fault": fault.fault,
                "end": fault.end,
                "undone": list(fault.undone),
                "left": [problem_to_plain(problem) for problem in fault.left],
            }
            for fault in report.faults
        ],
        "qemu-versions": {
            version.version: [problem_to_plain(problem) for problem in version.problems]
            for version in report.versions
        },
        "measured": None if report.measured is None else _measured_to_plain(report.measured),
        "runs": [figures_to_plain(run) for run in report.runs],
        "spread": {
            name: attrs.asdict(spread([figure(run) for run in report.runs]))
            for name, figure in FIGURES.items()
            if report.runs
        },
    }


def _prediction_to_plain(prediction: Prediction | None) -> dict[str, object] | None:
    if prediction is None:
        return None
    return {
        "besides-ms": prediction.besides_ms,
        "machine-state-ms": prediction.machine_state_ms,
    }


def _explored_to_plain(explored: Explored) -> dict[str, object]:
    return {
        "faults": 1,
        "violated": list(explored.violated),
        "client-dies": list(explored.client_dies),
        "client-recovered": list(explored.client_recovered),
        "finished": explored.finished,
        "not-explored": explored.stops_short or None,
    }


def contrast_to_plain(contrast: Contrast) -> dict[str, object]:
    """Whether two designs differ in a figure, as plain values."""
    return {
        "figure": contrast.figure,
        "least": contrast.least,
        "other": contrast.other,
        "likeness": contrast.likeness.value,
        "chance": contrast.chance,
    }


def figures_to_plain(measured: Measurement) -> dict[str, object]:
    """What one run took, as plain values."""
    return {
        "pause-us": measured.pause_us,
        "total-us": measured.total_us,
        "longest-round-trip-us": measured.longest_us,
        "longest-round-trip-command": measured.longest_command,
        "longest-event-wait-us": measured.silence_us,
        "vm-state-bytes": decimal(measured.vm_state_bytes),
        "files-grown-bytes": decimal(measured.grown_bytes),
    }


def _measured_to_plain(measured: Measurement) -> dict[str, object]:
    return figures_to_plain(measured) | {
        "spans": [
            {"command": span.command, "begin-us": span.begin, "end-us": span.end}
            for span in measured.spans
        ],
        "pauses": [{"event": name, "at-us": at} for name, at in measured.pauses],
    }
