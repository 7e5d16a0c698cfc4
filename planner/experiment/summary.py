"""What the results of all rounds come to: figures by design, and whether designs differ.

The statistics are those of `snapplan compare --repeat` (`planner.compare.repeated`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from planner.compare.comparison import Measurement
from planner.compare.repeated import FIGURES, Contrast, Spread, contrasts, spread, typical
from planner.experiment.experiment import Value, design_key
from planner.experiment.result import CaseResult, State

__all__ = ["Compared", "OfDesign", "compared", "in_file_order"]


@frozen
class OfDesign:
    """The runs of one design under one choice of the other values.

    Attributes:
        design: Its name.
        runs: Its figures, in the order of the rounds.
        spreads: Where each figure lies, by its name; empty: nothing was measured.
        typical: The run whose pause is the median; None: nothing was measured.
        ended_otherwise: The cases that were refused, or came to nothing.
    """

    design: str
    runs: tuple[Measurement, ...]
    spreads: Mapping[str, Spread]
    typical: Measurement | None
    ended_otherwise: tuple[CaseResult, ...]


@frozen
class Compared:
    """Designs under one choice of the other values.

    Attributes:
        settings: These values.
        designs: Each design.
        contrasts: Whether they differ.
    """

    settings: Mapping[str, Value]
    designs: tuple[OfDesign, ...]
    contrasts: tuple[Contrast, ...]


def in_file_order(
    results: Iterable[CaseResult], vary: Mapping[str, Sequence[Value]]
) -> tuple[CaseResult, ...]:
    """Results by their values and rounds, in the order in which the file has the values.

    Args:
        results: In any order.
        vary: The values of each axis, in the order of the file.
    """

    def place(result: CaseResult) -> tuple[list[int], int, str]:
        places = [
            values.index(value) if (value := result.settings.get(axis)) in values else len(values)
            for axis, values in vary.items()
        ]
        return places, result.round, result.case

    return tuple(sorted(results, key=place))


def compared(results: Sequence[CaseResult]) -> tuple[Compared, ...]:
    """Measured designs side by side, for each choice of the other values, in the results' order."""
    groups: dict[tuple[tuple[str, Value], ...], list[CaseResult]] = {}
    for result in results:
        groups.setdefault(design_key(result.settings), []).append(result)
    return tuple(_compared(dict(key), found) for key, found in groups.items())


def _compared(settings: Mapping[str, Value], results: Sequence[CaseResult]) -> Compared:
    by_design: dict[str, list[CaseResult]] = {}
    for result in results:
        by_design.setdefault(str(result.settings["design"]), []).append(result)
    designs = tuple(_of_design(name, found) for name, found in by_design.items())
    runs = {each.design: each.runs for each in designs if each.runs}
    return Compared(settings, designs, contrasts(runs))


def _of_design(name: str, results: Sequence[CaseResult]) -> OfDesign:
    runs = tuple(each.measured for each in results if each.measured is not None)
    spreads = (
        {key: spread([figure(run) for run in runs]) for key, figure in FIGURES.items()}
        if runs
        else {}
    )
    otherwise = tuple(each for each in results if each.state is not State.DONE)
    return OfDesign(name, runs, spreads, typical(runs) if runs else None, otherwise)
