"""What lockstep cases came to: for programs, for a person, and on the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from planner.experiment.experiment import AXES, Kind, Value, plain_value
from planner.experiment.result import CaseResult, Difference, Lockstepped, SequenceEnd
from planner.present.markup import Markup, element
from planner.present.tables import table

__all__ = [
    "LOCKSTEP_COLUMNS",
    "lockstep_columns",
    "lockstep_elements",
    "lockstep_lines",
    "lockstep_to_plain",
]

LOCKSTEP_COLUMNS = (
    "qemu-version",
    "end",
    "commands-sent",
    "command",
    "what",
    "real",
    "simulated",
)
"""The columns of CSV; the last four are the first difference."""

_SEED = "sequence-seed"
_GROUP = tuple(axis for axis in AXES[Kind.LOCKSTEP] if axis != _SEED)
_COUNTED = (SequenceEnd.DIFFERS, SequenceEnd.NOT_MODELLED, SequenceEnd.QEMU_ENDED)
_HEAD = ("sequences", "commands sent", "differ", "not modelled", "QEMU ended")


def lockstep_to_plain(found: Lockstepped) -> dict[str, object]:
    """The result of a case as plain values."""
    return {
        "qemu-version": found.qemu_version,
        "end": found.end.value,
        "commands-sent": found.commands,
        "differences": [attrs.asdict(each) for each in found.differences],
    }


def lockstep_columns(found: Lockstepped) -> dict[str, object]:
    """The same by `LOCKSTEP_COLUMNS`."""
    first = found.differences[0] if found.differences else None
    return lockstep_to_plain(found) | ({} if first is None else attrs.asdict(first))


def lockstep_lines(results: Sequence[CaseResult]) -> Iterator[str]:
    """What the sequences came to, counted, and each that differs."""
    yield table([tuple(name.upper() for name in (*_GROUP, *_HEAD)), *_counted(results)])
    for result, difference in _differences(results):
        yield ""
        yield f"{result.words}: {difference.command}"
        yield from (f"  {line}" for line in _difference_lines(difference))


def lockstep_elements(results: Sequence[CaseResult]) -> Iterator[Markup]:
    """The same for the page."""
    yield element("h2", "Do the two QEMUs show the same?")
    rows = [element("tr", *(element("th", name) for name in (*_GROUP, *_HEAD)))]
    rows += [element("tr", *(element("td", cell) for cell in row)) for row in _counted(results)]
    yield element("div", element("table", *rows), class_="wide")
    shown = list(_differences(results))
    if shown:
        yield element("h2", "First differences")
    for result, difference in shown:
        yield element("h3", result.words)
        yield element("p", difference.command, class_="text path")
        yield element("pre", "\n".join(_difference_lines(difference)))


def _differences(results: Sequence[CaseResult]) -> Iterator[tuple[CaseResult, Difference]]:
    for result in results:
        if result.lockstep is not None:
            yield from ((result, each) for each in result.lockstep.differences)


def _difference_lines(difference: Difference) -> Iterator[str]:
    yield f"{difference.what}"
    yield f"  real       {difference.real}"
    yield f"  simulated  {difference.simulated}"


def _counted(results: Sequence[CaseResult]) -> Iterator[tuple[str, ...]]:
    """A row for each choice of the other values: how many sequences ended in which way."""
    groups: dict[tuple[Value, ...], list[Lockstepped]] = {}
    for result in results:
        key = tuple(result.settings[axis] for axis in _GROUP)
        groups.setdefault(key, [])
        if result.lockstep is not None:
            groups[key].append(result.lockstep)
    for values, found in groups.items():
        counts = [sum(each.end is end for each in found) for end in _COUNTED]
        sent = sum(each.commands for each in found)
        yield (*map(plain_value, values), *map(str, (len(found), sent, *counts)))
