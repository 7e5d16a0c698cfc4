"""What specs/experiments tells of an experiment is what its figures, which stand beside it, come to."""

import csv
from collections import defaultdict

from planner.compare.comparison import Measurement
from planner.compare.repeated import Likeness, contrasts, spread
from tests.unit.build import ROOT

FOLDER = ROOT / "specs/experiments"
NAME = "transactional-or-monolithic"
AXES = ("qemu", "dirty-mib-per-s", "disks")


def runs():
    """By the other values, the runs of each design."""
    found = defaultdict(lambda: defaultdict(list))
    with (FOLDER / f"{NAME}.csv").open() as file:
        for row in csv.DictReader(file):
            assert row["state"] == "done"
            figures = (int(row["pause-us"]), int(row["total-us"]))
            run = Measurement(*figures, 0, "", 0, 0, 0, (), ())
            found[tuple(row[axis] for axis in AXES)][row["design"]].append(run)
    return found


def rows():
    """The table of the page, made of the figures."""
    for values, designs in runs().items():
        cells = []
        for name in ("monolithic", "transactional"):
            lies = spread([run.pause_us for run in designs[name]])
            told = [round(each / 1000) for each in (lies.median, lies.lower, lies.upper)]
            cells.append("{} ({} to {})".format(*told))
        (pause,) = (each for each in contrasts(designs) if each.figure == "pause-us")
        said = pause.likeness.value.replace("-", " ")
        yield f"| {' | '.join((*values, *cells, said))} |"


def test_the_table_is_what_the_figures_come_to():
    """Each row: medians and quartiles of the pause, and whether the designs differ."""
    text = (FOLDER / f"{NAME}.md").read_text()
    told = [line for line in text.splitlines() if line[:2] == "| " and line[2].isdigit()]
    assert told == list(rows())
    assert len(told) == 24


def test_the_sentences_are_what_the_figures_say():
    """No difference is seen anywhere, and the disks count for more than the design."""
    found = runs()
    assert {len(each) for designs in found.values() for each in designs.values()} == {9}
    said = {each.likeness for designs in found.values() for each in contrasts(designs)}
    assert said == {Likeness.NO_DIFFERENCE_SEEN}

    def median(disks):
        return spread(
            [
                run.pause_us
                for values, designs in found.items()
                if values[2] == disks
                for each in designs.values()
                for run in each
            ]
        ).median

    medians = [round(median(disks) / 1000) for disks in ("1", "8", "64", "200")]
    text = (FOLDER / f"{NAME}.md").read_text()
    assert "{}, {}, {} and {} ms".format(*medians) in text


def test_the_page_stands_beside_and_is_of_a_reasonable_size():
    """It is made of the same cases."""
    page = (FOLDER / f"{NAME}.html").read_text()
    assert "432 of 432 cases done" in page
    assert "pause: of 24 comparisons 24 no difference seen" in page
    assert "<script" not in page
    assert len(page) < 600_000
