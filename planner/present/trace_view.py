"""An exploration for a person: verdicts, the shortest counterexample as a story, and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from planner.errors import InternalError, Problem
from planner.explore.back import BackSetting
from planner.explore.back_properties import BackProperty, back_properties
from planner.explore.back_search import BackCounterexample, BackReport
from planner.explore.layers import Layers
from planner.explore.line import CLIENT, Line
from planner.explore.properties import Property, properties_asked
from planner.explore.search import Counterexample, SearchReport
from planner.explore.state import ClientDeath, Setting
from planner.explore.story import tell
from planner.present.outputs import output
from planner.present.pause_view import (
    limits_lines,
    limits_to_plain,
    limits_words,
    pause_lines,
    pause_to_plain,
)
from planner.present.tables import table
from planner.present.visible import as_lines
from planner.present.words import problem_to_plain

__all__ = [
    "Beside",
    "Explored",
    "Found",
    "properties_of",
    "report_text",
    "report_to_plain",
    "story_lines",
    "story_text",
    "verdict_line",
]

Explored = SearchReport | BackReport
Found = Counterexample | BackCounterexample

_FAULT_WORDS = {0: "none", 1: "one", 2: "two"}
_DEATH_WORDS = {
    ClientDeath.NEVER: "",
    ClientDeath.FOR_GOOD: ", client death",
    ClientDeath.RECOVERED: ", client death and recovery",
}
_DEATH_SAID = {
    ClientDeath.NEVER: "",
    ClientDeath.FOR_GOOD: ", and the client may die, and nobody comes after it",
    ClientDeath.RECOVERED: ", and the client may die, and then `snapplan recover` runs",
}
_SHOWN = 6


@frozen
class Beside:
    """What is told beside a report.

    Attributes:
        rules: What the ordering rules say of the design.
        left_out: What of the design the request does not need: the instruction, and why.
        elapsed_s: How long the search took.
    """

    rules: Sequence[Problem] = ()
    left_out: Sequence[tuple[str, str]] = ()
    elapsed_s: float | None = None


def story_lines(report: Explored, layers: Layers | None, found: Found | None) -> tuple[Line, ...]:
    """The run of a counterexample; without one, a run that is done."""
    if isinstance(report, BackReport):
        return found.story if isinstance(found, BackCounterexample) else report.example
    if layers is None or isinstance(found, BackCounterexample):
        raise InternalError("a story needs its images")
    moves = report.example if found is None else found.moves
    return tell(report.setting, layers, moves)


def properties_of(report: Explored) -> Sequence[Property | BackProperty]:
    """What was asked of the design."""
    if isinstance(report, BackReport):
        return back_properties(report.setting.purpose)
    return properties_asked(report.setting)


def verdict_line(report: Explored) -> str:
    """The verdict in one line."""
    setting = report.setting
    faults = _FAULT_WORDS.get(setting.faults, str(setting.faults))
    others = ", other clients" if setting.other_clients else ""
    others += _DEATH_WORDS[setting.client_death] + limits_words(report)
    verdict = "violates " + ", ".join(report.violated) if report.violated else _unbroken(report)
    return f"{setting.design}, {len(setting.of_guest)} disks, faults {faults}{others}: {verdict}"


def report_text(
    report: Explored,
    layers: Layers | None,
    found: Found | None,
    beside: Beside | None = None,
) -> str:
    """Verdicts, and the story of one counterexample."""
    beside = beside or Beside()
    head = (*_head(report.setting, beside.rules), *_not_sent(beside.left_out))
    pause = (*pause_lines(report), *limits_lines(report))
    lines = [*head, *pause, "", *_verdicts(report), "", _effort(report, beside.elapsed_s)]
    if found is not None:
        lines += ["", *story_text(report, layers, found)]
    return as_lines(lines)


def _back_head(setting: BackSetting) -> Iterator[str]:
    others = ", and other QMP clients act" if setting.other_clients else ""
    others += _DEATH_SAID[setting.client_death]
    where = f"in {setting.disks[setting.vmstate]}" if setting.vmstate >= 0 else "none"
    does = "goes back to" if setting.purpose == "load" else "deletes"
    yield f"Design {setting.design} {does} a snapshot: every run, with every order and every fault"
    yield f"  disks          {len(setting.disks)}: {_names(setting.disks)}; all hold it"
    yield f"  machine state  {where}"
    yield f"  client         {setting.client}"
    yield f"  faults         {_FAULT_WORDS.get(setting.faults, str(setting.faults))}{others}"


def _head(setting: Setting | BackSetting, rules: Sequence[Problem]) -> Iterator[str]:
    if isinstance(setting, BackSetting):
        yield from _back_head(setting)
        return
    state = "none"
    if setting.vmstate >= 0:
        state = f"machine state in {setting.disks[setting.vmstate]}"
        if setting.own >= 0:
            state = f"in an image of its own, on node {setting.disks[setting.own]}"
    elif setting.capture:
        state = f"in a file of its own, captured {setting.capture}"
    over = tuple(name for n, name in enumerate(setting.disks) if setting.overlays >> n & 1)
    others = ", and other QMP clients act" if setting.other_clients else ""
    others += _DEATH_SAID[setting.client_death]
    yield f"Design {setting.design}: every run, with every order, every guest and every fault"
    yield f"  disks          {len(setting.of_guest)}: {_names(setting.of_guest)}"
    if over:
        yield f"  overlays       {len(over)}: {_names(over)}"
    yield f"  machine state  {state}"
    yield f"  faults         {_FAULT_WORDS.get(setting.faults, str(setting.faults))}{others}"
    for number, problem in enumerate(rules):
        yield f"  {'rules say' if number == 0 else '':<13}  {problem}"
    if not rules:
        yield "  rules say      the order is right"


def _not_sent(left_out: Sequence[tuple[str, str]]) -> Iterator[str]:
    for number, (name, why) in enumerate(left_out):
        yield f"  {'not needed' if number == 0 else '':<13}  {name}: {why}"


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _verdicts(report: Explored) -> Iterator[str]:
    by_id = {found.property_id: found for found in report.violations}
    rows = []
    for wanted in properties_of(report):
        found = by_id.get(wanted.id)
        if found is not None:
            rows.append((wanted.id, "VIOLATED", found.why))
        else:
            rows.append((wanted.id, _unbroken(report), wanted.means))
    yield table(rows, "  ")


def _unbroken(report: Explored) -> str:
    if report.finished:
        return "holds"
    return f"holds to depth {report.depth}"


def _effort(report: Explored, elapsed_s: float | None) -> str:
    time = "" if elapsed_s is None else f", {elapsed_s:.2f} s"
    ends = ", ".join(f"{count} {kind}" for kind, count in report.ends) or "none"
    stopped = "" if report.finished else f"; stopped: {report.stopped}"
    return (
        f"{report.states} states, {report.transitions} transitions, depth {report.depth}{time}"
        f"{stopped}; ends: {ends}"
    )


def story_text(report: Explored, layers: Layers | None, found: Found) -> Iterator[str]:
    """A counterexample, a line for each move."""
    yield f"Shortest run that violates {found.property_id}"
    lines = story_lines(report, layers, found)
    width = len(str(len(lines)))
    for number, line in enumerate(lines, start=1):
        mark = "! " if line.fault else "  "
        yield f"  {mark}{number:>{width}}. {_sentence(line.text)}"
    yield f"  => {_sentence(found.why)}"
    if found.done and isinstance(found, Counterexample):
        seen = f"would see it ({found.noticed})" if found.noticed else "would see nothing of it"
        yield f"     snapplan's own last look at the VM {seen}."


def _sentence(text: str) -> str:
    head = text if text.startswith(CLIENT) else text[:1].upper() + text[1:]
    return f"{head}."


def report_to_plain(
    report: Explored,
    layers: Layers | None,
    beside: Beside | None = None,
) -> dict[str, object]:
    """A report as plain values."""
    beside = beside or Beside()
    setting = report.setting
    by_id = {found.property_id: found for found in report.violations}
    plain: dict[str, object] = output(
        "explore",
        {
            "design": setting.design,
            "disks": list(setting.disks),
            "faults": setting.faults,
            "other-clients": setting.other_clients,
            "client-death": setting.client_death.value,
            **limits_to_plain(report),
            "left-out": [{"instruction": name, "why": why} for name, why in beside.left_out],
            "rules": [problem_to_plain(problem) for problem in beside.rules],
            "properties": [
                {
                    "id": wanted.id,
                    "means": wanted.means,
                    "verdict": _verdict(report, by_id, wanted.id),
                }
                for wanted in properties_of(report)
            ],
            "pause": pause_to_plain(report),
            "states": report.states,
            "transitions": report.transitions,
            "depth": report.depth,
            "finished": report.finished,
            "ends": dict(report.ends),
            "counterexamples": [
                {
                    "property": found.property_id,
                    "why": found.why,
                    "noticed": found.noticed,
                    "story": [_line_to_plain(line) for line in story_lines(report, layers, found)],
                }
                for found in report.violations
            ],
        },
    )
    if beside.elapsed_s is not None:
        plain["elapsed-s"] = round(beside.elapsed_s, 3)
    return plain


def _verdict(report: Explored, by_id: Mapping[str, Found], wanted: str) -> str:
    if wanted in by_id:
        return "violated"
    return "holds" if report.finished else "not-violated-yet"


def _line_to_plain(line: Line) -> dict[str, object]:
    return {"from": line.source, "to": line.target, "text": line.text, "fault": line.fault}
