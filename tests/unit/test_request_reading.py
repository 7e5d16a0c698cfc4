"""A request file is read whole: every problem at once, each with its code and its line."""

import json

import pytest

from planner.errors import BadInput
from planner.model.request import (
    Capture,
    Exclude,
    ExistingTag,
    External,
    ExternalMachineState,
    Internal,
    InternalMachineState,
    NoMachineState,
    Others,
    RunStateAfter,
    Unreadable,
)
from planner.model.request_text import read_request, request_to_plain
from planner.model.tag import tag_problems
from planner.model.text import read_text

GOOD = """\
tag: before-upgrade
machine-state: {internal: disk0}
disks:
  disk0: internal
  vars0: {external: /vm/vars0.overlay}
  scratch0: exclude
others: exclude
existing-tag: replace
run-state-after: paused
"""


def found(text):
    return [(problem.code, problem.subject) for problem in read_request(text).problems]


def test_a_good_request_is_read_as_it_stands():
    """Every key reaches its attribute, and no problem is found."""
    read = read_request(GOOD)
    assert read.problems == ()
    request = read.request
    assert request.tag == "before-upgrade"
    assert request.machine_state == InternalMachineState("disk0")
    assert dict(request.disks) == {
        "disk0": Internal(),
        "vars0": External("/vm/vars0.overlay"),
        "scratch0": Exclude(),
    }
    assert (request.others, request.existing_tag) == (Others.EXCLUDE, ExistingTag.REPLACE)
    assert request.run_state_after is RunStateAfter.PAUSED
    assert len(request.given) == 6


def test_yaml_and_json_mean_the_same():
    """The same request in JSON is the same request."""
    plain = read_text(GOOD, "x").value
    assert read_request(json.dumps(plain)).request == read_request(GOOD).request


def test_what_is_left_out_is_a_default_that_is_known_as_one():
    """Defaults are taken, and `given` tells them from what was said."""
    request = read_request("tag: t\nmachine-state: none\ndisks: {}\n").request
    assert request.machine_state == NoMachineState()
    assert (request.others, request.existing_tag) == (Others.REFUSE, ExistingTag.REFUSE)
    assert request.run_state_after is RunStateAfter.AS_BEFORE
    assert request.given == {"tag", "machine-state", "disks"}


@pytest.mark.parametrize("capture", list(Capture))
def test_external_machine_state_survives_its_file(capture):
    """Every capture of external machine state is read and written."""
    text = f"tag: t\nmachine-state: {{external: /s, capture: {capture}}}\ndisks: {{a: internal}}\n"
    read = read_request(text)
    assert read.problems == ()
    assert read.request.machine_state == ExternalMachineState("/s", capture)
    assert read_request(json.dumps(request_to_plain(read.request))).request == read.request


BODY = "machine-state: none\ndisks: {}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", [("request-shape", "")]),
        ("", [("request-shape", "")]),
        ("just text", [("request-shape", "")]),
        (BODY, [("key-missing", "tag")]),
        ("tag: t\ndisks: {}\n", [("key-missing", "machine-state")]),
        ("tag: t\nmachine-state: none\n", [("key-missing", "disks")]),
        ("tag: t\nfoo: 1\n" + BODY, [("key-unknown", "foo")]),
        ("tag: ''\n" + BODY, [("tag-empty", "tag")]),
        ("tag: 123\n" + BODY, [("value-wrong", "tag"), ("tag-all-digits", "tag")]),
        ("tag: '123'\n" + BODY, [("tag-all-digits", "tag")]),
        ("tag: true\n" + BODY, [("value-wrong", "tag")]),
        ("tag: [t]\n" + BODY, [("value-wrong", "tag")]),
        ("tag: null\n" + BODY, [("value-wrong", "tag")]),
        ("tag: 2026-01-01\n" + BODY, [("value-wrong", "tag")]),
        ("tag: 1.5\n" + BODY, [("value-wrong", "tag")]),
        ('tag: "a\\tb"\n' + BODY, [("tag-control-character", "tag")]),
        (f"tag: {'a' * 256}\n" + BODY, [("tag-too-long", "tag")]),
        ("tag: t\ntag: u\n" + BODY, [("key-twice", "tag")]),
        ("tag: t\nmachine-state: some\ndisks: {}", [("value-wrong", "machine-state")]),
        ("tag: t\nmachine-state: {}\ndisks: {}", [("value-wrong", "machine-state")]),
        ("tag: t\nmachine-state: 1\ndisks: {}", [("value-wrong", "machine-state")]),
        (
            "tag: t\nmachine-state: {internal: d, more: 1}\ndisks: {}",
            [("key-unknown", "machine-state.more")],
        ),
        (
            "tag: t\nmachine-state: {internal: ''}\ndisks: {}",
            [("disk-name-malformed", "machine-state.internal")],
        ),
        (
            "tag: t\nmachine-state: {external: /s}\ndisks: {}",
            [("key-missing", "machine-state.capture")],
        ),
        (
            "tag: t\nmachine-state: {external: '', capture: later}\ndisks: {}",
            [("path-malformed", "machine-state.external"), ("value-wrong", "machine-state.capture")],
        ),
        ("tag: t\nmachine-state: none\ndisks: [a]", [("value-wrong", "disks")]),
        ("tag: t\nmachine-state: none\ndisks: {a: maybe}", [("value-wrong", "disks.a")]),
        ("tag: t\nmachine-state: none\ndisks: {a: null}", [("value-wrong", "disks.a")]),
        ("tag: t\nmachine-state: none\ndisks: {'': internal}", [("disk-name-malformed", "disks.")]),
        (
            'tag: t\nmachine-state: none\ndisks: {"a\\x07": internal}',
            [("disk-name-malformed", "disks.a\x07")],
        ),
        (
            "tag: t\nmachine-state: none\ndisks: {a: {external: 1}}",
            [("value-wrong", "disks.a.external")],
        ),
        (
            'tag: t\nmachine-state: none\ndisks: {a: {external: "x\\0"}}',
            [("path-malformed", "disks.a.external")],
        ),
        (
            f"tag: t\nmachine-state: none\ndisks: {{a: {{external: {'p' * 5000}}}}}",
            [("path-malformed", "disks.a.external")],
        ),
        (
            "tag: t\nmachine-state: none\ndisks: {a: {external: /p, format: raw}}",
            [("key-unknown", "disks.a.format")],
        ),
        (
            "tag: t\nmachine-state: none\ndisks: {a: internal, a: exclude}",
            [("key-twice", "a")],
        ),
        ("tag: t\nothers: all\n" + BODY, [("value-wrong", "others")]),
        ("tag: t\nexisting-tag: keep\n" + BODY, [("value-wrong", "existing-tag")]),
        ("tag: t\nrun-state-after: off\n" + BODY, [("value-wrong", "run-state-after")]),
    ],
)  # fmt: skip
def test_each_mistake_has_its_code_and_place(text, expected):
    """One mistake gives just its own problem, whose subject is the key."""
    assert found(text) == expected


def test_all_mistakes_are_reported_together_in_the_order_of_the_file_s_keys():
    """Reading goes on after a mistake, and what cannot be read is a gap."""
    read = read_request("""\
tag: "12"
disks: {a: maybe, b: internal}
machine-state: {external: ''}
others: some
colour: red
colour: blue
""")
    assert [problem.code for problem in read.problems] == [
        "key-twice", "key-unknown", "tag-all-digits", "path-malformed", "key-missing",
        "value-wrong", "value-wrong",
    ]  # fmt: skip
    assert read.request.machine_state == Unreadable()
    assert dict(read.request.disks) == {"a": Unreadable(), "b": Internal()}


def test_problems_name_the_line():
    """A problem in YAML says in which line its key stands, also where a key stands twice."""
    text = "tag: t\nmachine-state: none\ndisks:\n  a: maybe\n  b: internal\n  b: exclude\n"
    twice, wrong = read_request(text).problems
    assert "(line 6)" in twice.message
    assert "(line 4)" in wrong.message


def test_a_key_without_a_value_is_empty():
    """As YAML reads `tag:`, and not a word of Python's."""
    (empty,) = read_request("tag:\nmachine-state: none\ndisks: {a: internal}\n").problems
    assert empty.message == "it is empty, and should be text (quote it) (line 1)"


def test_a_key_that_stands_twice_in_json_is_reported_too():
    """Python's reader would keep the last without a word."""
    assert found('{"tag": "t", "tag": "u", "machine-state": "none", "disks": {}}') == [
        ("key-twice", "tag")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "tag: &a t\nmachine-state: *a\ndisks: {}",  # anchors
        "tag: &a t",
        "a: &x [1]\n",
        "tag: !!python/object:os.system t",  # tags that make objects
        "? [a, b]\n: 1\n",  # a key that is no text
        "? {a: b}\n: 1\n",
        "tag: 't",
        "tag: t\n--- \ntag: u\n",  # two documents
        "{",
        '{"tag": NaN}',
        '{"tag": Infinity}',
        '{"a": 1e999999}x',
        "[" * 100_000,
        "- " * 3000,
        "{a: " * 3000 + "1" + "}" * 3000,
        "tag: t\x00",
        "tag: \x07",
        "x" * 4_000_001,
        "a: !!timestamp 99999-99-99",
        "a: !!int 0x",
        "a: !!float nothing",
        "a: !!binary '*'",
        "a: 2001-99-99",
        "a: !!bool perhaps",
        "a: ! x",
        "a: =",
        "a:\n" + "".join(f"{' ' * i}b{i}:\n" for i in range(1, 60)),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_plain_yaml_or_json_is_bad_input(text):
    """Anchors, objects, nesting, size, broken syntax: `text-unreadable`, never a traceback."""
    with pytest.raises(BadInput) as bad:
        read_request(text, "my-request.yaml")
    assert bad.value.code == "text-unreadable"
    assert [problem.code for problem in bad.value.problems] == ["text-unreadable"]
    assert bad.value.problems[0].subject == "my-request.yaml"


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 10_000, "a: " + "{a: " * 3_000, "- " * 5_000, "? " * 5_000]
)
def test_yaml_that_nests_too_deeply_is_not_read_to_its_end(text):
    """What PyYAML does for each bracket grows with the open ones: it is stopped at the limit."""
    with pytest.raises(BadInput, match="it nests deeper than 40 levels"):
        read_request(text)


def test_a_number_too_long_for_python_is_bad_input():
    """Python refuses to read integers of more than some thousand digits, in its own words."""
    with pytest.raises(BadInput):
        read_request('{"tag": ' + "9" * 5000 + "}")


@pytest.mark.parametrize("key", ["tag", "machine-state", "disks", "others"])
def test_a_number_that_python_cannot_write_is_bad_input(key):
    """Hexadecimal digits make a number of any size, which Python then refuses to print."""
    with pytest.raises(BadInput):
        read_request(f"{key}: 0x{'f' * 10_000}\n")


@pytest.mark.parametrize("text", ['{"tag": "\\ud800", "machine-state": "none", "disks": {}}'])
def test_half_a_surrogate_is_no_tag(text):
    """JSON can hold half a surrogate pair, which has no bytes."""
    assert found(text) == [("tag-not-text", "tag")]


def test_half_a_surrogate_is_no_path_and_no_disk_name():
    """A path and a disk name must have bytes, too."""
    plain = {
        "tag": "t",
        "machine-state": {"internal": "\ud800"},
        "disks": {"\udfff": "internal", "a": {"external": "/\ud800"}},
    }
    assert {problem.code for problem in read_request(json.dumps(plain)).problems} == {
        "disk-name-malformed", "path-malformed",
    }  # fmt: skip


def test_problems_can_be_printed_whatever_they_quote():
    """A message quotes half a surrogate pair escaped, so that any terminal can show it."""
    plain = {"tag": "t", "machine-state": "\ud800", "disks": {"a": "\ud800", "\ud800": 1}}
    for problem in read_request(json.dumps(plain)).problems:
        problem.message.encode()


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("", ["tag-empty"]),
        (" \u2003", ["tag-empty"]),
        (" a ", []),
        ("a", []),
        ("a" * 255, []),
        ("a" * 256, ["tag-too-long"]),
        ("é" * 127, []),
        ("é" * 128, ["tag-too-long"]),
        ("7", ["tag-all-digits"]),
        ("007", ["tag-all-digits"]),
        ("7a", []),
        ("7.5", []),
        ("a\n", ["tag-control-character"]),
        ("\x00", ["tag-control-character"]),
        ("\x7f", ["tag-control-character"]),
        ("\u200b", ["tag-control-character"]),
        ("\ud800", ["tag-not-text"]),
        ("ü ñ 好 emoji 🎉", []),
        ("1" * 300, ["tag-too-long", "tag-all-digits"]),
    ],
)
def test_what_a_tag_may_be(tag, expected):
    """QEMU cuts at 255 bytes (fact 8) and takes digits for an id (fact 9)."""
    assert [problem.code for problem in tag_problems(tag)] == expected
