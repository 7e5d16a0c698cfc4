"""Every command that prints JSON has a schema, strict and explained, and the wheel brings it along."""

import importlib
import json
import re
from pathlib import Path

import click
import jsonschema
import pytest

from planner.cli.main import cli
from planner.cli.schema_files import OUTPUTS_OF, schema_files
from planner.errors import (
    BadInput,
    Interrupted,
    OutcomeUnknown,
    Problem,
    Refused,
    RunFailed,
    UndoIncomplete,
)
from planner.present.outputs import FORMAT_VERSIONS, SAFE_INTEGER, output
from planner.present.words import error_to_plain
from tests.support.contract import broken, conforms

FILES = schema_files()
SCHEMAS = {name: json.loads(path.read_text()) for name, path in FILES.items()}
COMMANDS = cli.list_commands(click.Context(cli))
FILE_SCHEMAS = {
    *("facts", "request", "plan", "manifest", "restore-record", "group-file", "design-file"),
    "experiment-file",
}
RUN = {"run-state", "undone", "left", "pause-us"}


def module(command):
    return importlib.import_module(f"planner.cli.{command}_command").command


def integers(schema):
    """Every whole number that a schema speaks of."""
    if isinstance(schema, dict):
        if schema.get("type") == "integer":
            yield schema
        schema = list(schema.values())
    for each in schema if isinstance(schema, list) else ():
        yield from integers(each)


def objects(schema):
    if isinstance(schema, dict):
        if schema.get("type") == "object" or "properties" in schema:
            yield schema
        for value in schema.values():
            yield from objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects(value)


WITHOUT_JSON = ("simulate", "help", "completion")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_that_prints_json_has_a_schema(command):
    """What takes --json prints what a schema describes; but for a few."""
    found = module(command)
    each = found.commands.values() if isinstance(found, click.Group) else [found]
    for one in each:
        takes = any(parameter.name == "as_json" for parameter in one.params)
        assert takes == (command not in WITHOUT_JSON)
    if command not in WITHOUT_JSON:
        assert OUTPUTS_OF.get(command, command) in SCHEMAS


def test_each_schema_is_of_something():
    """No schema is left over, and each output has its version in code and schema."""
    outputs = {
        OUTPUTS_OF.get(command, command) for command in COMMANDS if command not in WITHOUT_JSON
    }
    assert set(SCHEMAS) == outputs | FILE_SCHEMAS | {"error", "progress"}
    assert set(FORMAT_VERSIONS) == set(SCHEMAS) - FILE_SCHEMAS


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_schema_has_an_id_of_its_own_and_says_what_it_is(name):
    """$id has name and format-version; title and description are there; it is a JSON schema."""
    schema = SCHEMAS[name]
    version = FORMAT_VERSIONS.get(name, 1)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:snapplan:schema:{name}:{version}"
    assert schema["title"]
    assert schema["description"].endswith(".")
    versions = {o["properties"]["format-version"]["const"] for o in headed(schema)}
    unheaded = ("request", "group-file", "design-file", "experiment-file")
    assert versions == (set() if name in unheaded else {version})


def headed(schema):
    return [o for o in objects(schema) if "format-version" in o.get("properties", {})]


@pytest.mark.parametrize("name", sorted(FORMAT_VERSIONS))
def test_an_output_has_no_member_that_its_schema_does_not_explain(name):
    """Every object says which members it has and no more, and every member is explained."""
    for each in objects(SCHEMAS[name]):
        if "properties" not in each:
            assert each["additionalProperties"], each
        elif "type" in each:
            assert each["additionalProperties"] is False
            explained = {
                k
                for k, v in each["properties"].items()
                if {"description", "$ref", "const"} & set(v)
            }
            nested = {k for k, v in each["properties"].items() if v.get("type") == "object"}
            assert set(each["properties"]) == explained | nested


@pytest.mark.parametrize("name", sorted(FORMAT_VERSIONS))
def test_what_is_named_alike_is_defined_alike(name):
    """A definition of one name is the same in every schema; each can be used alone."""
    for word, definition in SCHEMAS[name].get("$defs", {}).items():
        others = [
            s["$defs"][word]
            for n, s in SCHEMAS.items()
            if n in FORMAT_VERSIONS and word in s.get("$defs", {})
        ]
        assert all(other == definition for other in others)
    refs = re.findall(r'"\$ref": "([^"]*)"', FILES[name].read_text())
    assert all(ref.startswith("#/$defs/") for ref in refs)


LEFT = Problem("part-left", "disk0", "it is there", "delete it")


@pytest.mark.parametrize("kind", [RunFailed, UndoIncomplete, OutcomeUnknown, Interrupted])
def test_a_failed_run_says_as_data_what_became_of_the_vm(kind):
    """Run state, what was undone, what is left and the pause are members, and attributes."""
    error = kind("no", run_state="running", undone=("a",), left=(LEFT,), pause_us=5)
    plain = error_to_plain(error)
    conforms("error", plain)
    said = plain["error"]
    assert (said["run-state"], said["undone"], said["pause-us"]) == ("running", ["a"], 5)
    assert said["left"] == [
        {"code": "part-left", "subject": "disk0", "message": "it is there", "remedy": "delete it"}
    ]
    assert error.left == (LEFT,)
    conforms("error", error_to_plain(kind("no")))
    for gone in RUN:
        less = {key: value for key, value in said.items() if key != gone}
        with pytest.raises(jsonschema.ValidationError):
            conforms("error", {**plain, "error": less})


@pytest.mark.parametrize("kind", [BadInput, Refused])
def test_an_error_without_a_run_claims_nothing_of_one(kind):
    """Where nothing was begun, nothing is said of an undo."""
    plain = error_to_plain(kind("no"))
    conforms("error", plain)
    assert not RUN & set(plain["error"])
    plain["error"]["undone"] = []
    with pytest.raises(jsonschema.ValidationError):
        conforms("error", plain)


def test_the_watch_over_the_tests_sees_what_is_wrong():
    """An unknown member, text, two documents, a number too large and a wrong code are each found."""
    whole = output("gc", {"orphans": []})
    text = json.dumps(whole)
    assert broken("gc", ["gc"], 0, text) == ""
    assert broken("gc", ["gc"], 0, json.dumps({**whole, "more": 1}))
    assert broken("gc", ["gc"], 0, "nothing to collect")
    assert broken("gc", ["gc"], 0, "")
    assert broken("gc", ["gc"], 0, f"{text}\n{text}")
    assert broken("check", ["check"], 0, json.dumps({**whole, "commands": 2**53}))
    assert broken("gc", ["gc"], 2, json.dumps(error_to_plain(Refused("no"))))
    assert broken("gc", ["gc"], 10, json.dumps(error_to_plain(Refused("no")))) == ""


def test_the_schemas_are_where_people_look_for_them():
    """In a clone they stand in specs/schemas."""
    assert {path.parent for path in FILES.values()} == {Path("specs/schemas").resolve()}


@pytest.mark.parametrize("name", sorted(set(FILES) - FILE_SCHEMAS))
def test_no_integer_of_an_output_is_one_that_a_double_cannot_hold(name):
    """Decision 17; what may be larger is a string of digits, and files are as QEMU has them."""
    for schema in integers(SCHEMAS[name]):
        assert schema.get("maximum", SAFE_INTEGER + 1) <= SAFE_INTEGER, schema
