"""Designs that were each measured several times: what is typical of them, and whether they differ.

Theory: one run of each design misleads: on an idle VM nine runs of one design spread over a factor of
seven.  So a figure is a median with its quartiles, and two designs are said to differ only where it is
hardly chance: of all ways to deal the same figures out to two designs, at most one in a hundred sets
their ranks as far apart (a permutation test of the rank sums).  Ranks, since one slow run must not
decide.  "No difference seen" is no proof that there is none.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum

from attrs import frozen

from planner.compare.comparison import Measurement

__all__ = [
    "FIGURES",
    "Contrast",
    "Likeness",
    "Spread",
    "contrasts",
    "in_rounds",
    "spread",
    "typical",
]

_RARE = 0.01
_FEW = 5
"""With fewer runs of each, no result is as rare as `_RARE`: of 4 and 4, two in seventy are extreme."""


@frozen
class Spread:
    """Where the figures of one design lie, in their own unit.

    Attributes:
        lower: A quarter of them is smaller.
        median: Half of them is smaller.
        upper: A quarter of them is larger.
    """

    lower: int
    median: int
    upper: int


class Likeness(StrEnum):
    """What the runs of two designs say of one figure."""

    DIFFER = "differ"
    NO_DIFFERENCE_SEEN = "no-difference-seen"
    TOO_FEW_RUNS = "too-few-runs"


@frozen
class Contrast:
    """One figure of two designs.

    Attributes:
        figure: ``pause-us`` or ``total-us``.
        least: The design whose median is the least.
        other: The other design.
        likeness: Whether they differ.
        chance: How often mere chance would set them as far apart; None: too few runs to say.
    """

    figure: str
    least: str
    other: str
    likeness: Likeness
    chance: float | None


FIGURES: Mapping[str, Callable[[Measurement], int]] = {
    "pause-us": lambda run: run.pause_us or 0,
    "total-us": lambda run: run.total_us,
}
"""The figures that are compared, in microseconds; a design that pauses nothing pauses for 0."""


def in_rounds(designs: Sequence[str], repeat: int, seed: int) -> Iterator[tuple[int, str]]:
    """Each design once in each round, in an order of chance; what drifts meets all of them alike."""
    for number in range(1, repeat + 1):
        yield from ((number, design) for design in sorted(designs, key=_lot(seed, number)))


def _lot(seed: int, number: int) -> Callable[[str], bytes]:
    return lambda design: hashlib.sha256(f"{seed} {number} {design}".encode()).digest()


def spread(figures: Sequence[int]) -> Spread:
    """Where they lie; of one figure alone all three are that figure."""
    if len(figures) == 1:
        return Spread(figures[0], figures[0], figures[0])
    lower, median, upper = statistics.quantiles(figures, n=4, method="inclusive")
    return Spread(round(lower), round(median), round(upper))


def typical(runs: Sequence[Measurement]) -> Measurement:
    """The run whose pause is the median; of an even number, the shorter one of the middle."""
    return sorted(runs, key=FIGURES["pause-us"])[(len(runs) - 1) // 2]


def contrasts(runs: Mapping[str, Sequence[Measurement]]) -> tuple[Contrast, ...]:
    """Each figure: the design with the least median beside each other one; none for a single run."""
    if len(runs) < 2 or min(map(len, runs.values())) < 2:
        return ()
    found = []
    for name, figure in FIGURES.items():
        figures = {design: [figure(run) for run in of_design] for design, of_design in runs.items()}
        least = min(figures, key=lambda design: spread(figures[design]).median)
        found += [
            _contrast(name, least, other, figures[least], figures[other])
            for other in figures
            if other != least
        ]
    return tuple(found)


def _contrast(
    name: str, least: str, other: str, ours: Sequence[int], theirs: Sequence[int]
) -> Contrast:
    if min(len(ours), len(theirs)) < _FEW:
        return Contrast(name, least, other, Likeness.TOO_FEW_RUNS, None)
    chance = _chance(ours, theirs)
    likeness = Likeness.DIFFER if chance <= _RARE else Likeness.NO_DIFFERENCE_SEEN
    return Contrast(name, least, other, likeness, round(chance, 4))


def _chance(ours: Sequence[int], theirs: Sequence[int]) -> float:
    """Of all ways to deal the figures out, the share whose rank sum is as far from the middle."""
    ranks = _doubled_ranks([*ours, *theirs])
    count, whole = len(ours), sum(ranks)
    seen = abs(sum(ranks[:count]) * len(ranks) - whole * count)
    ways = _ways(ranks, count)
    far = [n for at, n in enumerate(ways) if abs(at * len(ranks) - whole * count) >= seen]
    return sum(far) / sum(ways)


def _ways(ranks: Sequence[int], count: int) -> list[int]:
    """In how many ways so many of the ranks sum up to 0, 1, 2 ….

    All sums of one number of ranks are digits of one large number, so that one addition adds them all.
    """
    width = len(ranks) + 1  # bits of a digit: no sum is reached in more ways than there are hands
    hands = [1] + [0] * count
    for rank in ranks:
        for taken in range(count, 0, -1):
            hands[taken] += hands[taken - 1] << (width * rank)
    mask = (1 << width) - 1
    return [hands[count] >> (width * at) & mask for at in range(sum(ranks) + 1)]


def _doubled_ranks(figures: Sequence[int]) -> list[int]:
    """Twice the rank of each, from 2; equal figures share the middle of their ranks, a whole number."""
    ordered = sorted(figures)
    places: dict[int, list[int]] = {}
    for place, value in enumerate(ordered, start=1):
        places.setdefault(value, []).append(place)
    return [places[value][0] + places[value][-1] for value in figures]
