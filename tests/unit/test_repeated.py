"""Designs that are measured several times: order, spread, and whether they differ."""

import math
import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.compare.comparison import Measurement
from planner.compare.repeated import (
    Contrast,
    Likeness,
    Spread,
    contrasts,
    in_rounds,
    spread,
    typical,
)

FAST, SLOW = [10, 11, 12, 13, 14], [20, 21, 22, 23, 24]


def run(pause_us, total_us=1000):
    return Measurement(pause_us, total_us, 1, "stop", 1, 0, 0, (), ())


def runs(*pauses):
    return tuple(map(run, pauses))


def pause(contrasted):
    (found,) = (each for each in contrasted if each.figure == "pause-us")
    return found


def test_each_round_has_each_design_once_in_an_order_of_its_own():
    """The same seed gives the same order, another seed another one."""
    order = list(in_rounds(("a", "b", "c"), 40, 7))
    rounds = [[design for number, design in order if number == each] for each in range(1, 41)]
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert len({tuple(each) for each in rounds}) == 6
    assert list(in_rounds(("a", "b", "c"), 40, 7)) == order
    assert list(in_rounds(("a", "b", "c"), 40, 8)) != order


def test_a_spread_has_median_and_quartiles():
    assert spread([40, 10, 20, 30, 50]) == Spread(20, 30, 40)
    assert spread([7]) == Spread(7, 7, 7)


def test_the_typical_run_is_that_of_the_median_pause():
    assert typical(runs(30, 10, 20)).pause_us == 20
    assert typical(runs(40, 10, 20, 30)).pause_us == 20
    assert typical(runs(None, 5, 6)).pause_us == 5, "no pause is the shortest"


def test_designs_apart_differ_and_mixed_ones_do_not():
    """Of five and five, all of one below all of the other is rare: 2 of 252 ways."""
    apart = pause(contrasts({"slow": runs(*SLOW), "fast": runs(*FAST)}))
    assert apart == Contrast("pause-us", "fast", "slow", Likeness.DIFFER, 0.0079)
    mixed = pause(contrasts({"a": runs(38, 295, 40, 60, 41), "b": runs(39, 120, 45, 52, 200)}))
    assert mixed.likeness is Likeness.NO_DIFFERENCE_SEEN
    assert mixed.chance > 0.05


def test_four_runs_are_too_few_and_one_says_nothing():
    few = pause(contrasts({"a": runs(*FAST[:4]), "b": runs(*SLOW[:4])}))
    assert (few.likeness, few.chance) == (Likeness.TOO_FEW_RUNS, None)
    assert contrasts({"a": runs(1), "b": runs(2)}) == ()
    assert contrasts({"a": runs(*FAST)}) == ()


def test_one_slow_run_decides_nothing():
    """A hundredfold outlier has the rank of any last one."""
    usual = {"a": runs(10, 12, 14, 16, 18, 20), "b": runs(11, 13, 15, 17, 19, 21)}
    outlier = usual | {"b": runs(11, 13, 15, 17, 19, 2100)}
    assert pause(contrasts(usual)).chance == pause(contrasts(outlier)).chance


def test_equal_figures_are_no_difference():
    assert pause(contrasts({"a": runs(*[5] * 9), "b": runs(*[5] * 9)})).chance == 1


@given(
    st.lists(st.integers(0, 6), min_size=5, max_size=6),
    st.lists(st.integers(0, 6), min_size=5, max_size=6),
)
def test_the_chance_is_that_of_all_ways_to_deal_them_out(ours, theirs):
    """Against a count of every hand, ties too."""
    pool = ours + theirs
    rank = {v: pool.count(v) + 1 + 2 * sum(w < v for w in pool) for v in pool}
    ranks = [rank[v] for v in pool]
    middle = sum(ranks) * len(ours) / len(ranks)
    seen = abs(sum(ranks[: len(ours)]) - middle)
    far = sum(abs(sum(h) - middle) >= seen - 1e-9 for h in combinations(ranks, len(ours)))
    expected = far / math.comb(len(ranks), len(ours))
    found = pause(contrasts({"a": runs(*ours), "b": runs(*theirs)}))
    assert found.chance == pytest.approx(expected, abs=1e-4)


def test_runs_of_one_design_seldom_differ():
    """Of 400 pairs dealt from the same figures, about one in a hundred is called different."""
    chance = random.Random(1)
    called = sum(
        pause(
            contrasts({name: runs(*(chance.randrange(10**6) for _ in range(9))) for name in "ab"})
        ).likeness
        is Likeness.DIFFER
        for _ in range(400)
    )
    assert called <= 12
