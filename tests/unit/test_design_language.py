"""The design language: its schema, its page, its reader and its template say the same."""

import json
import re

import jsonschema
import pytest
import yaml

from planner.errors import BadInput
from planner.explore.back import Purpose, purpose_of
from planner.explore.design_template import PURPOSES, design_template
from planner.explore.design_text import CHOICES, FLAGS, KEYS, VERDICTS, read_design
from planner.model.operations import Kind
from planner.verbs.design_files import built_in_designs
from tests.support.design_reference import PAGE, SCHEMA, reference, written

FILE = json.loads(SCHEMA.read_text(encoding="utf-8"))
VALID = jsonschema.Draft202012Validator(FILE)
INSTRUCTION = FILE["$defs"]["instruction"]["properties"]
BUILT_IN = built_in_designs()


def values(found):
    return [one["const"] for one in found["oneOf"]]


def test_the_schema_has_what_the_reader_takes():
    """The same keys, the same values, the same defaults."""
    assert set(FILE["properties"]) == set(KEYS)
    assert set(FILE["properties"]["verdict"]["properties"]) == set(VERDICTS)
    assert set(INSTRUCTION) == {"name", "does", *FLAGS, *CHOICES}
    for key, kind in CHOICES.items():
        known = [choice.value for choice in kind if choice != "none"]
        assert sorted(values(INSTRUCTION[key])) == sorted(known), key
    assert values(FILE["$defs"]["operation"]) == sorted(
        (kind.value for kind in Kind), key=values(FILE["$defs"]["operation"]).index
    )


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_shipped_design_fits_the_schema(name):
    """And the reader takes it."""
    text = BUILT_IN[name].read_text(encoding="utf-8")
    assert list(VALID.iter_errors(yaml.safe_load(text))) == []
    assert read_design(text).name == name


@pytest.mark.parametrize("does", ["SnapshotDisk", "{any-order: [BeginCopy, SnapshotDisk]}"])
def test_only_copies_end_together(does):
    """QEMU refuses it with anything else; the error says what can be said instead."""
    text = f"design: d\ninstructions: [{{name: t, does: {does}, completion-mode: grouped}}]"
    with pytest.raises(BadInput) as caught:
        read_design(text)
    (problem,) = caught.value.problems
    assert problem.subject == "instruction t: completion-mode"
    assert "on-failure: nothing" in problem.remedy
    assert read_design(text.replace(does, "BeginCopy")).instructions


def test_the_page_is_made_from_the_schema():
    """`python -m tests.support.design_reference` writes it again."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == written(page)
    for found in (FILE["properties"], INSTRUCTION):
        assert all(f"| `{key}` |" in reference() for key in found)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_new_design_is_one_and_says_what_it_is_for(purpose):
    """Also with an odd name, and with every commented key uncommented in its place."""
    text = design_template('my "own": design', purpose)
    design = read_design(text)
    assert design.name == 'my "own": design'
    assert purpose_of(design) is Purpose(purpose)
    assert list(VALID.iter_errors(yaml.safe_load(text))) == []
    for line in re.findall(r"^ *# ([a-z-]+: [a-z-]+) .*$", text, re.MULTILINE):
        key, value = line.split(": ")
        schema = {**FILE["properties"], **INSTRUCTION}[key]
        assert value == "true" or value in values(schema), line


MALFORMED = {
    "- {name: keep, effect: keepstream}": (
        "instruction keep: effect",
        "did you mean keep-stream?",
    ),
    "- {name: stop, does: PauseGeust}": ("instruction stop: does", "did you mean PauseGuest?"),
    "- {name: save, does: {inorder: [PauseGuest]}}": (
        "instruction save: does",
        "did you mean in-order?",
    ),
    "- {name: save, does: SnapshotDisk(disk0)}": (
        "instruction save: does",
        "has no names of disks",
    ),
    "- {name: save, does: BackupDisk}": ("instruction save: does", "BeginCopy"),
    "- {name: save, atomic: maybe, does: PauseGuest}": (
        "instruction save: atomic",
        "true or false",
    ),
    "- {name: stop, vm: a, does: PauseGuest}": ("instruction stop: vm", "snapplan group explore"),
    "- {name: save, onfailure: nothing, does: PauseGuest}": (
        "instruction save: onfailure",
        "did you mean on-failure?",
    ),
    "- {does: PauseGuest}": ("instruction 1: name", "must be a text"),
    "- stop": ("instruction 1", "must be a mapping"),
}


@pytest.mark.parametrize("line", MALFORMED)
def test_an_error_names_the_instruction_and_what_was_meant(line):
    """By its name, or by its number where it has none."""
    where, what = MALFORMED[line]
    with pytest.raises(BadInput) as error:
        read_design(f"design: mine\ninstructions:\n  {line}\n")
    told = {problem.subject: problem.message + problem.remedy for problem in error.value.problems}
    assert list(told) == [where]
    assert what in told[where]
    assert not VALID.is_valid(yaml.safe_load(f"design: mine\ninstructions:\n  {line}\n"))
