"""Requests and VMs as files, and what comes of them, word by word.

A case is `cases/NAME.yaml` with `cases/NAME.facts.json` (whose QMP schema is taken from tests/data),
or one of specs/examples.  For each design, `expected/NAME.DESIGN.txt` holds the plan as text, QMP,
Mermaid and DOT (of small VMs the plan file, too), or the
refusal.  `SNAPPLAN_UPDATE_GOLDEN=1 pytest tests/golden` writes them anew; the difference is then for a
person to read.
"""

import os
from pathlib import Path

import pytest
from attrs import evolve

from planner.compile.plan import compile_request
from planner.compile.plan_text import plan_to_text
from planner.errors import BadInput, Refused
from planner.model.facts_text import read_facts
from planner.model.request_text import read_request
from planner.present.graph_view import dot, mermaid
from planner.present.plan_view import plan_text, qmp_lines
from planner.present.words import error_text
from tests.unit.build import ROOT, SCHEMAS

HERE = Path(__file__).parent
REQUESTS = [
    *sorted((HERE / "cases").glob("*.yaml")),
    *sorted((ROOT / "specs/examples").glob("*.yaml")),
]
DESIGNS = ("monolithic", "transactional", "auto")
STREAMING = ("external", "live", "background", "auto")
IMAGED = ("vmstate-node", "transactional", "auto")


def _designs_for(name):
    if name.startswith("external"):
        return STREAMING
    return IMAGED if name == "image-of-its-own" else DESIGNS


CASES = [(path, design) for path in REQUESTS for design in _designs_for(path.stem)]
UPDATE = bool(os.environ.get("SNAPPLAN_UPDATE_GOLDEN"))


def read_case(path):
    facts = read_facts(path.with_suffix(".facts.json").read_text(), path.stem)
    if not facts.schema:
        facts = evolve(facts, schema=SCHEMAS[f"{facts.qemu.major}.{facts.qemu.minor}"])
    return read_request(path.read_text(), path.name), facts


def outcome_text(read, facts, design):
    try:
        plan = compile_request(read, facts, design)
    except (BadInput, Refused) as error:
        return error_text(error) + "\n"
    if design == "auto":  # the views differ from the design's own in their heads alone
        return plan_text(plan) + "\n"
    views = [plan_text(plan), qmp_lines(plan), mermaid(plan), dot(plan)]
    if len(facts.disks) <= 2:  # a plan file is long
        views.append(plan_to_text(plan))
    return "\n----\n".join(view.rstrip("\n") for view in views) + "\n"


@pytest.mark.parametrize(("path", "design"), CASES, ids=lambda value: getattr(value, "stem", value))
def test_a_case_comes_out_as_before(path, design):
    """The same request and VM give the same words; a change is seen in the expected file."""
    text = outcome_text(*read_case(path), design)
    expected = HERE / "expected" / f"{path.stem}.{design}.txt"
    if UPDATE:
        expected.parent.mkdir(exist_ok=True)
        expected.write_text(text)
    assert text == expected.read_text()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "specs/examples").glob("*.yaml")), ids=lambda p: p.stem
)
def test_each_example_can_be_planned(path):
    """What specs/ shows to a reader works in both designs, and fits on one screen."""
    read, facts = read_case(path)
    for design in DESIGNS:
        plan = compile_request(read, facts, design)
        assert len(plan_text(plan).splitlines()) <= 40


def test_no_expected_file_is_left_over():
    """Every expected file belongs to a case."""
    wanted = {f"{path.stem}.{design}.txt" for path, design in CASES}
    assert {path.name for path in (HERE / "expected").iterdir()} == wanted


def test_there_is_a_case_for_each_outcome():
    """Some cases are planned, some refused, and the search finds them."""
    texts = [path.read_text() for path in (HERE / "expected").iterdir()]
    assert sum(text.startswith("snapplan: ") for text in texts) >= 3
    assert sum(text.startswith("Snapshot ") for text in texts) >= 10
