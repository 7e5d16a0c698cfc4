"""A command is checked against what this very QEMU says of itself."""

import pytest

from planner.program.schema import COMMANDS, CommandSchema, reachable
from tests.unit.build import SCHEMAS

versions = pytest.mark.parametrize("version", list(SCHEMAS))
SAVE = {"job-id": "j", "tag": "t", "vmstate": "disk0", "devices": ["disk0"]}
DELETE = "blockdev-snapshot-delete-internal-sync"


def action(**data):
    return {"type": "blockdev-snapshot-internal-sync", "data": data}


def problems(version, execute, arguments):
    found = CommandSchema.of(SCHEMAS[version]).problems(execute, arguments)
    return [(problem.code, problem.subject, problem.message) for problem in found]


def without(key):
    return {name: value for name, value in SAVE.items() if name != key}


@versions
@pytest.mark.parametrize(
    ("execute", "arguments"),
    [
        ("stop", {}),
        ("snapshot-save", SAVE),
        ("transaction", {"actions": []}),
        ("transaction", {"actions": [action(device="d", name="t")]}),
        (
            "transaction",
            {"actions": [{"type": "abort", "data": {}}], "properties": {}},
        ),
        (DELETE, {"device": "d", "id": "1", "name": "t"}),
        (DELETE, {"device": "d"}),
        ("query-named-block-nodes", {"flat": True}),
    ],
)
def test_what_qemu_takes_is_taken(version, execute, arguments):
    """A right command has no problem, in any of the three versions."""
    assert problems(version, execute, arguments) == []


NO_MEMBER = "this QEMU has no such member"
MISSING = "this member is missing"


@versions
@pytest.mark.parametrize(
    ("execute", "arguments", "where", "message"),
    [
        ("snapshot-save", without("tag"), "snapshot-save.tag", MISSING),
        ("snapshot-save", {**SAVE, "size": 1}, "snapshot-save.size", NO_MEMBER),
        ("snapshot-save", {**SAVE, "tag": 1}, "snapshot-save.tag", "string is wanted here"),
        ("snapshot-save", {**SAVE, "tag": None}, "snapshot-save.tag", "string is wanted here"),
        ("snapshot-save", {**SAVE, "devices": "d"}, "snapshot-save.devices",
         "an array is wanted here"),
        ("snapshot-save", {**SAVE, "devices": ["d", 1]}, "snapshot-save.devices[1]",
         "string is wanted here"),
        ("stop", {"a": 1}, "stop.a", NO_MEMBER),
        ("query-named-block-nodes", {"flat": 1}, "query-named-block-nodes.flat",
         "boolean is wanted here"),
        ("transaction", {"actions": [action(device="d")]}, "transaction.actions[0].data.name",
         MISSING),
        ("transaction", {"actions": [{"type": "abort"}]}, "transaction.actions[0].data", MISSING),
        ("transaction", {"actions": [{"data": {}}]}, "transaction.actions[0].type", MISSING),
        ("transaction", {"actions": [7]}, "transaction.actions[0]", "an object is wanted here"),
        ("transaction", {"actions": [action(device="d", name="t", more=1)]},
         "transaction.actions[0].data.more", NO_MEMBER),
        ("transaction", {"actions": [], "properties": {"completion-mode": "some"}},
         "transaction.properties.completion-mode", "this QEMU does not know the value 'some'"),
    ],
)  # fmt: skip
def test_what_qemu_would_refuse_is_found_with_its_place(
    version, execute, arguments, where, message
):
    """Missing, unknown and mistyped members, in arrays and variants too, are told by their path."""
    assert ("argument-lacking", where, message) in problems(version, execute, arguments)


@versions
def test_a_variant_that_qemu_does_not_know(version):
    """The type of an action is an enum, and its members are its variant's alone."""
    found = problems(
        version, "transaction", {"actions": [{"type": "machine-snapshot", "data": {}}]}
    )
    assert [where for _, where, _ in found] == [
        "transaction.actions[0].type",
        "transaction.actions[0].data",
    ]


def test_a_bool_is_no_number():
    """JSON's true is no int to QEMU, though it is one to Python."""
    add = {
        "type": "block-dirty-bitmap-add",
        "data": {"node": "d", "name": "b", "granularity": True},
    }
    (found,) = problems("7.2", "transaction", {"actions": [add]})
    assert found[1:] == ("transaction.actions[0].data.granularity", "int is wanted here")


def test_an_alternate_takes_each_of_its_kinds():
    """A bitmap to merge is a name, or a node and a name."""

    def merge(bitmap):
        data = {"node": "d", "target": "b", "bitmaps": [bitmap]}
        return {"actions": [{"type": "block-dirty-bitmap-merge", "data": data}]}

    assert problems("7.2", "transaction", merge("a")) == []
    assert problems("7.2", "transaction", merge({"node": "d", "name": "a"})) == []
    (found,) = problems("7.2", "transaction", merge(7))
    assert found[1] == "transaction.actions[0].data.bitmaps[0]"


@versions
def test_an_unknown_command_is_lacking(version):
    """The thread's proposal exists in no release."""
    assert problems(version, "machine-snapshot-internal-sync", {}) == [
        ("command-lacking", "machine-snapshot-internal-sync", "this QEMU has no such command")
    ]
    assert not CommandSchema.of(SCHEMAS[version]).has_command("str")  # a type is no command


def test_a_type_that_the_schema_lacks_is_said_so():
    """Facts from a file may hold half a schema; that is a problem and no traceback."""
    entries = [entry for entry in SCHEMAS["7.2"] if entry["name"] != "str"]
    found = CommandSchema.of(entries).problems("snapshot-save", SAVE)
    assert {problem.message for problem in found} == {"the schema does not say what type 'str' is"}


LOOP = {"name": "loop", "meta-type": "alternate", "members": [{"type": "loop"}]}


@pytest.mark.parametrize(
    "entries",
    [
        [{"name": "snapshot-save", "meta-type": "command"}],
        [{"name": "snapshot-save", "meta-type": "command", "arg-type": []}],
        [{"name": "snapshot-save", "meta-type": "command", "arg-type": "0"},
         {"name": "0", "meta-type": "object"}],
        [{"name": "snapshot-save", "meta-type": "command", "arg-type": "0"},
         {"name": "0", "meta-type": "object", "members": [7]}],
        [{"name": "snapshot-save", "meta-type": "command", "arg-type": "loop"}, LOOP],
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_read_vouches_for_nothing(entries):
    """Facts from a file may hold anything: the command is refused, with no traceback."""
    found = CommandSchema.of(entries).problems("snapshot-save", SAVE)
    assert [(problem.code, problem.subject) for problem in found] == [
        ("command-lacking", "snapshot-save")
    ]


@versions
def test_what_is_kept_of_a_schema_is_all_that_commands_need(version):
    """Reduced once more, it is the same; and every command that may be sent is in it."""
    assert reachable(SCHEMAS[version]) == SCHEMAS[version]
    names = {entry["name"] for entry in SCHEMAS[version]}
    later = {"blockdev-set-active"} if version == "7.2" else set()  # 10.0 has it (fact 29)
    assert set(COMMANDS) - names == later
    assert not any("ret-type" in entry for entry in SCHEMAS[version])


def test_only_what_is_reachable_is_kept():
    """The rest of a schema, a quarter of a megabyte, reaches no file."""
    kept = reachable(SCHEMAS["7.2"], ["stop", "no-such-command", "str"])
    assert [entry["name"] for entry in kept] == ["0", "stop"]
