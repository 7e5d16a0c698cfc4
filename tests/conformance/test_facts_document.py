"""`specs/qemu-facts.md` and the experiments of its facts belong together."""

import importlib
import re
import subprocess
from pathlib import Path

from backends.qemu_facts import report
from backends.qemu_facts.lab.assembled import assembled

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "specs" / "qemu-facts.md"
ONLY_MEASURED = {43}  # a fact about time alone: benchmarks have it


def facts():
    """Each numbered fact of the document with its text."""
    items = re.findall(r"^(\d+)\. (.*\n(?: {4}.*\n)*)", DOCUMENT.read_text(), re.MULTILINE)
    return {int(number): text for number, text in items}


def test_each_fact_has_a_number_of_its_own():
    """A fact is cited by its number, so none is given twice."""
    numbers = re.findall(r"^(\d+)\. ", DOCUMENT.read_text(), re.MULTILINE)
    assert sorted(map(int, numbers)) == sorted(facts())


def test_every_fact_has_a_script_with_experiments():
    """But one about time alone; and nothing is shown that the document does not say."""
    assert set(report.numbers()) == set(facts()) - ONLY_MEASURED
    for number in report.numbers():
        assert report.experiments(number), f"fact {number} has no experiment"


def test_every_script_says_what_its_fact_is_about():
    """In its head, with the fact's number; and every experiment says what it claims."""
    for number in report.numbers():
        head = importlib.import_module(f"backends.qemu_facts.fact_{number:03}").__doc__
        assert re.match(rf"Fact {number}: \S.*\.", head), number
        for each in report.experiments(number):
            assert each.claim, (number, each.name)
            assert each.cases, (number, each.name)


def test_the_guests_are_what_nasm_makes_of_them(tmp_path):
    """What is committed is what `script/guests` assembles."""
    subprocess.run([HERE.parents[1] / "script" / "guests", tmp_path], check=True)
    for made in tmp_path.iterdir():
        assert made.read_bytes() == assembled(made.stem), made.name
    assert {made.stem for made in tmp_path.iterdir()} == {"guest", "changing", "writer", "talker"}
