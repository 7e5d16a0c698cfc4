"""Every code that a user can meet is documented, and every documented code can be met."""

import ast
import functools
import re

import pytest

from planner.compile.rules import EDGE_RULE_IDS
from planner.errors import SnapplanError
from planner.program.rule_ids import RuleId
from tests.unit.build import ROOT

DOCUMENT = (ROOT / "specs/exit-codes.md").read_text()
SOURCES = sorted(path for room in ("planner", "backends") for path in (ROOT / room).rglob("*.py"))
# Calls whose first argument is a code, and the one that makes a code of its third (`TEXT-malformed`).
CARRIERS = {"Problem", "_add", "_report", "report", "failed", "Failure", "_problem"}
CODE = re.compile(r"[a-z]+(-[a-z]+)+|interrupted|usage|complete")


def called(node):
    function = node.func
    return getattr(function, "id", getattr(function, "attr", ""))


def constant(node):
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def codes_in(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if called(node) in CARRIERS and node.args:
                yield constant(node.args[0])
            for keyword in node.keywords:
                if keyword.arg == "code":
                    yield constant(keyword.value)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "default_code":
            yield constant(node.value)


@functools.cache
def codes_of(path):
    found = {code for code in codes_in(ast.parse(path.read_text())) if code}
    return {code for code in found if CODE.fullmatch(code)}


@functools.cache
def documented():
    """The words in backquotes in the first column of a table, or in exit 30's sentence."""
    found = set()
    for part in DOCUMENT.split("\n## ")[1:]:
        heading, _, body = part.partition("\n")
        rows = [line.split("|")[1] for line in body.splitlines() if line.startswith("| `")]
        if heading.startswith("Exit 30"):
            rows.append(body.split("| code |")[0])
        found |= {code for row in rows for code in re.findall(r"`([a-z][a-z-]*)`", row)}
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_code_in_the_source_is_documented(path):
    """A code that a script may match on stands in specs/exit-codes.md."""
    assert codes_of(path) - documented() == set()


def test_each_documented_code_is_in_the_source():
    """specs/exit-codes.md promises no code that nothing gives."""
    text = "\n".join(path.read_text() for path in SOURCES)
    given = {code for path in SOURCES for code in codes_of(path)}
    given |= {code for code in documented() if f'"{code}"' in text}
    assert documented() - given == set()


def test_each_documented_code_says_what_to_do():
    """A row has a meaning and a way out, in a third column; `snapplan help CODE` prints both."""
    rows = [line.split("|") for line in DOCUMENT.splitlines() if line.startswith("| `")]
    assert [
        cells[1]
        for cells in rows
        if len(cells) != 5 or not all(cell.strip() for cell in cells[1:4])
    ] == []


def test_no_code_stands_twice_in_a_table():
    """Two rows of one table would be two answers to one question."""
    for table in re.split(r"\n\| code \|", DOCUMENT)[1:]:
        codes = [
            code
            for row in re.findall(r"^\| (`[^|]*)\|", table, re.MULTILINE)
            for code in re.findall(r"`([a-z-]+)`", row)
        ]
        assert sorted(codes) == sorted(set(codes))


def test_the_search_finds_codes_at_all():
    """The two tests above compare something."""
    given = {code for path in SOURCES for code in codes_of(path)}
    assert {"tag-taken", "key-twice", "job-failed", "vm-silent", "path-malformed"} <= given
    assert len(documented()) > 70


def test_each_error_has_its_own_default_code_and_exit_code():
    """The kinds of errors can be told apart by code, and the table of exits lists each."""
    kinds = []
    todo = [SnapplanError]
    while todo:
        kind = todo.pop()
        kinds.append(kind)
        todo += kind.__subclasses__()
    for kind in kinds:
        assert f"\n| {kind.exit_code} |" in DOCUMENT
        assert kind.default_code in documented()
        assert kind("what").vm_state
    codes = {kind.default_code for kind in kinds}
    assert len(codes) == len(kinds) - 1  # SnapplanError itself is an internal error


def test_each_rule_is_an_invariant():
    """Every ordering rule stands in specs/invariants.md."""
    text = (ROOT / "specs/invariants.md").read_text()
    assert [rule for rule in (*EDGE_RULE_IDS, *RuleId) if f"**{rule}**" not in text] == []
