"""`specs/qemu-facts.md` and the tests of its facts belong together."""

import fnmatch
import re
from pathlib import Path

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "specs" / "qemu-facts.md"
ONLY_MEASURED = {43}  # a fact about time alone: benchmarks have it


def fact_tests():
    """All tests of facts, as the document names them."""
    return {
        f"{path.stem.removeprefix('test_facts_')}::{name}"
        for path in HERE.glob("test_facts_*.py")
        for name in re.findall(r"^def (test_fact_\w+)", path.read_text(), re.MULTILINE)
    }


def facts():
    """Each numbered fact of the document with its text."""
    items = re.findall(r"^(\d+)\. (.*\n(?: {4}.*\n)*)", DOCUMENT.read_text(), re.MULTILINE)
    return {int(number): text for number, text in items}


def test_each_fact_has_a_number_of_its_own():
    """A fact is cited by its number, so none is given twice, and they rise."""
    numbers = re.findall(r"^(\d+)\. ", DOCUMENT.read_text(), re.MULTILINE)
    assert list(map(int, numbers)) == sorted(facts())


def test_every_fact_names_tests_that_exist():
    """Each fact cites at least one test of its own number, and no test that is not there."""
    for number, text in facts().items():
        cited = re.findall(r"`(\w+::test_fact_[\w*]+)`", text)
        for pattern in cited:
            assert fnmatch.filter(fact_tests(), pattern), f"fact {number}: no {pattern}"
        own = [pattern for pattern in cited if f"test_fact_{number:02}_" in pattern]
        assert own or number in ONLY_MEASURED, f"fact {number} has no test"


def test_every_test_of_a_fact_is_cited():
    """No test of a fact is missing from the document."""
    cited = re.findall(r"`(\w+::test_fact_[\w*]+)`", DOCUMENT.read_text())
    uncited = {test for test in fact_tests() if not any(fnmatch.fnmatch(test, c) for c in cited)}
    assert uncited == set()
