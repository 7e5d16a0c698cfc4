"""specs/design-validation.md: its commands print what it says, and each cell of its tables is true."""

import re
import shlex
from pathlib import Path

import pytest

from planner.explore.limits import InPause, Limits
from planner.explore.pause_work import pause_work
from planner.present.trace_view import properties_of
from planner.verbs.design_files import find_design
from tests.model.exploring import BACK_DESIGNS, DESIGNS, explored, explored_back
from tests.support.forked import run_snapplan

PAGE = Path("specs/design-validation.md").read_text(encoding="utf-8")
COLUMNS = {
    "nothing strikes": "none",
    "one fault": "one",
    "two faults": "two",
    "one, other clients act too": "one-with-other-clients",
    "one, the client may die": "one-with-client-death",
    "and is recovered": "one-with-client-death-recovered",
}
"""Of each column, the key of a design file's verdict; `test_explore.py` finds those again."""

TWO_AND_OTHERS = "two, other clients act too"
"""The column that no file has."""


def transcript():
    """(command, expected output) pairs of the page."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    parts = [re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:] for block in blocks]
    return [pair for p in parts for pair in zip(p[::2], p[1::2], strict=True)]


@pytest.mark.parametrize(("line", "expected"), transcript())
def test_each_command_of_the_page_prints_what_stands_below_it(line, expected):
    """And exits accordingly."""
    name, *arguments = shlex.split(line)
    assert name == "snapplan"
    done = run_snapplan(*arguments)
    assert done.stdout == expected
    assert done.returncode == (30 if "violates" in expected else 0)


def rows():
    """Of each table, each design with its cells by the column's name."""
    for block in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        lines = [[c.strip() for c in line.strip("|\n").split("|")] for line in block.splitlines()]
        if lines[0][0] == "design":
            yield from (
                (row[0], dict(zip(lines[0][1:], row[1:], strict=True))) for row in lines[2:]
            )


@pytest.mark.parametrize(("design", "cells"), list(rows()))
def test_each_cell_of_the_verdict_tables_is_true(design, cells):
    """What is named is violated, and nothing else."""
    for column, cell in cells.items():
        named = () if cell == "holds" else tuple(cell.replace("*", "").split(", "))
        if column != TWO_AND_OTHERS:
            assert named == find_design(design).verdict[COLUMNS[column]]


@pytest.mark.parametrize(
    ("design", "cell"),
    [(name, cells[TWO_AND_OTHERS]) for name, cells in rows() if TWO_AND_OTHERS in cells],
)
def test_two_faults_and_other_clients(design, cell):
    """The column that no file has."""
    found = explored(design, faults=2, other_clients=True, disks=3).violated
    assert cell.replace("*", "").split(", ") == list(found)


def test_every_design_is_in_a_table():
    """None is left out where its verdict would not suit."""
    assert {design for design, _ in rows()} == {*DESIGNS, *BACK_DESIGNS}


def table_of(head):
    """Of a table that begins so, each design with its cells."""
    block = re.search(rf"^\| {head} .*\n\|.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)[1]
    lines = [[c.strip() for c in line.strip("|\n").split("|")] for line in block.splitlines()]
    return [(line[0], tuple(line[1:])) for line in lines]


def test_what_each_design_sends_is_what_its_file_says():
    """Each is in the table, once, with its summary and the QEMU that has it."""
    told = {
        name: (find_design(name).summary, find_design(name).exists or "no") for name, _ in rows()
    }
    assert dict(table_of("a design")) == told


def test_what_each_property_means_is_what_the_explorer_says():
    """Those of saving first; of going back and of deleting what they have besides."""
    wanted = {}
    reports = (explored("monolithic"), *map(explored_back, ("load-today", "delete-today")))
    for report in reports:
        for found in properties_of(report):
            wanted.setdefault(found.id, (found.means,))
    assert dict(table_of("a property")) == wanted


@pytest.mark.parametrize(("design", "cells"), table_of("the pause of"))
def test_what_is_done_in_the_pause_is_what_the_page_says(design, cells):
    """Memory, disks, commands, and during what the monitor is silent."""
    report = explored(design)
    work = pause_work(report.setting, report.example)
    counted = (str(work.disks + work.in_transaction), str(work.commands))
    assert cells == (work.memory.value, *counted, ", ".join(work.silent) or "no")


LIMITS = [
    *(Limits(each) for each in InPause if each is not InPause.ALL),
    Limits(monitor_answers=True),
]
"""What the columns of the table of limits ask for."""


@pytest.mark.parametrize(("design", "cells"), table_of("asked of"))
def test_what_is_judged_of_the_pause_is_what_the_page_says(design, cells):
    """Each limit by itself, nothing striking."""
    for limits, cell in zip(LIMITS, cells, strict=True):
        assert explored(design, limits=limits).violated == (limits.asked * (cell == "violated"))
