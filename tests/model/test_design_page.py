"""`snapplan design page`: what is sent, QAPI, verdicts and a test, all made from the model.

`tests/live/test_design_page.py` runs the tests on real QEMU.
"""

import json
import re
from pathlib import Path

import pytest

from planner.errors import Refused
from planner.explore.acts import ClientDeath
from planner.explore.spelling import proposals_of
from planner.explore.trying import trying
from planner.model.facts_text import read_facts
from planner.model.request_text import read_request
from planner.present.proposal_iotest import iotest_text
from planner.present.proposal_qapi import qapi_text
from planner.verbs.design_files import built_in_designs, find_design
from planner.verbs.exploring import Strikes, task_of_design
from tests.support.forked import run_snapplan

EXAMPLE = Path("specs/examples/drive-only")
NOTHING = Strikes(0, other_clients=False, client_death=ClientDeath.NEVER)
INSIDE = [
    *("monolithic", "transactional", "savevm", "include-vmstate", "machine-snapshot", "post-copy"),
    *("naive-transaction", "load-today", "load-transaction", "delete-today", "delete-transaction"),
]
"""Designs that need nothing beside the images for a request of internal parts."""


COPYING = {
    "copies-grouped": "mixed-copies",
    "transactional-and-copies": "mixed-copy",
}
"""What is tried with a request for copies, by a name for it."""


def design_of(name):
    return name.removesuffix("-and-copies")


def tried(name):
    folder, design = EXAMPLE.parent / "explore", design_of(name)
    request, facts = f"{EXAMPLE}.yaml", f"{EXAMPLE}.facts.json"
    if name in COPYING:
        request, facts = folder / f"{COPYING[name]}.yaml", folder / "mixed.facts.json"
    request = read_request(Path(request).read_text())
    facts = read_facts(Path(facts).read_text())
    return trying(task_of_design(find_design(design), request, facts, NOTHING).setting)


def run_of(design, name):
    (run,) = (each for each in tried(design).runs if each.name == name)
    return run


@pytest.mark.parametrize("name", [*INSIDE, *COPYING])
def test_every_design_becomes_a_test(name):
    """Every command is refused once, and QEMU and the client die before each and after the last."""
    found = tried(name)
    text = iotest_text(find_design(design_of(name)), found)
    compile(text, name, "exec")
    tests = re.findall(r"def test_(\w+)", text)
    assert tests == [run.name for run in found.runs]
    assert len(set(tests)) == len(tests)
    count = len(found.setting.instructions)
    for kind, wanted in (("refused", count), ("qemu_dies", count + 1), ("client_dies", count + 1)):
        assert len([each for each in tests if each.startswith(kind)]) == wanted
    longest = max(len(line) for line in text.splitlines() if "def test_" not in line)
    assert longest <= 100


def test_every_shipped_design_is_tried_or_says_why_not():
    designs = built_in_designs()
    assert set(INSIDE) <= set(designs)
    for name in designs:
        try:
            found = tried(name)
        except Refused:  # it is for other requests
            continue
        assert found.runs or all(each.why for each in found.left_out), name


def test_what_a_run_leaves_is_what_the_model_says():
    """The end of each kind of run of one design, by hand."""
    done = run_of("transactional", "nothing_strikes").walk
    assert (done.left.parts, done.left.running, done.left.done) == ((1, 1), True, True)
    assert [deed.what for deed in done.deeds] == ["send"] * 4
    failed = run_of("transactional", "fails_3_transaction_SnapshotDisk_data").walk
    assert (failed.left.parts, failed.left.running) == ((0, 0), True)
    assert [deed.what for deed in failed.deeds][-2:] == ["delete", "cont"]
    died = run_of("transactional", "client_dies_before_4_cont").walk
    assert (died.left.parts, died.left.running) == ((1, 1), False)
    killed = run_of("transactional", "qemu_dies_before_3_transaction").walk
    assert (killed.left.parts, killed.left.running) == ((0, 0), None)
    torn = run_of("load-today", "fails_1_snapshot_load_ReadVmstate_system").walk
    assert (torn.left.saved, torn.left.running) == ((True, True), False)
    kept = run_of("load-transaction", "fails_1_transaction_ReadVmstate_system").walk
    assert (kept.left.saved, kept.left.running) == ((False, False), True)


@pytest.mark.parametrize("name", INSIDE)
def test_what_no_qemu_has_is_in_the_fragment_and_nothing_else(name):
    """With a comment for every member, as QEMU's documentation wants it."""
    found = tried(name)
    proposals = proposals_of(found.spelled)
    text = qapi_text(find_design(name), proposals)
    exists = find_design(name).exists
    assert bool(proposals) is not bool(exists)
    for proposal in proposals:
        for member in proposal.members:
            assert f"# @{member.name}: " in text
            assert f"'{member.name}': " in text
        assert proposal.name in text
    assert max(map(len, text.splitlines())) <= 76


def test_the_page_and_its_files(tmp_path):
    """Verdicts are the explorer's; what is violated has its story; nothing is overwritten."""
    words = ["design", "page", "include-vmstate", f"{EXAMPLE}.yaml"]
    words += ["--facts", f"{EXAMPLE}.facts.json", "-o", str(tmp_path / "out")]
    done = run_snapplan(*words, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    verdict = find_design("include-vmstate").verdict
    assert said["violated"] == {faults: list(ids) for faults, ids in verdict.items()}
    page = Path(said["file"]).read_text()
    for ids in verdict.values():
        for property_id in ids:
            assert f"Shortest run that violates {property_id}\n" in page
    fragment = Path(said["fragment"]).read_text()
    assert "'include-vmstate': 'IncludeVmstateWrapper'" in fragment
    assert fragment.strip() in page
    test = Path(said["test"])
    assert test.stat().st_mode & 0o777 == 0o700
    assert [f"- test_{name}" in page for name in said["tried"]] == [True] * len(said["tried"])
    assert {"what", "why"} == set(said["not-tried"][0])
    again = run_snapplan(*words)
    assert again.returncode == 2
    assert "file-exists" in again.stderr
