"""The published JSON schemas and the code agree on what a request, a plan and a manifest are."""

import json
import os
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.compile.plan import compile_request
from planner.compile.plan_text import plan_to_plain
from planner.errors import BadInput
from planner.model.facts_text import read_facts
from planner.model.request_text import (
    read_request,
    request_from_plain,
    request_schema,
    request_to_plain,
)
from planner.model.text import Document, read_text
from planner.parts.manifest_text import read_manifest

SCHEMAS = Path("specs/schemas")
EXAMPLES = sorted(Path("specs/examples").glob("*.yaml"))


def validator(name):
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


REQUEST = validator("request")
PLAN = validator("plan")
MANIFEST = validator("manifest")
FACTS = validator("facts")

names = st.sampled_from(["disk0", "disk1", "", "a b", 7, None])
paths = st.sampled_from(["/srv/x", "", 3, None])
wishes = st.one_of(
    st.sampled_from(["internal", "exclude", "maybe", 1, None, []]),
    st.fixed_dictionaries({"external": paths}),
    st.fixed_dictionaries({"external": paths, "more": st.just(1)}),
)
states = st.one_of(
    st.sampled_from(["none", "some", None, 5, {}]),
    st.fixed_dictionaries({"internal": names}),
    st.fixed_dictionaries(
        {"external": paths}, optional={"capture": st.sampled_from(["live", "later", None])}
    ),
    st.fixed_dictionaries({"internal": names, "external": paths}),
)
requests = st.one_of(
    st.fixed_dictionaries(
        {
            "tag": st.sampled_from(["ok", "", "12", "a" * 256, 12, True, None]),
            "machine-state": states,
            "disks": st.one_of(
                st.dictionaries(names.filter(lambda name: isinstance(name, str)), wishes),
                st.sampled_from(["internal", None, []]),
            ),
        },
        optional={
            "others": st.sampled_from(["refuse", "exclude", "internal", "all", None]),
            "existing-tag": st.sampled_from(["refuse", "replace", "keep"]),
            "run-state-after": st.sampled_from(["as-before", "running", "paused", "off"]),
            "description": st.sampled_from(["", "two\nlines", "a\tb", "x" * 4097, 7, None]),
            "freeze-filesystems": st.sampled_from(
                [
                    {"agent": "/a"},
                    {"agent": "/a", "at-most": 0},
                    {"at-most": 3},
                    {"agent": ""},
                    None,
                ]
            ),
            "unknown": st.just(1),
        },
    ),
    st.sampled_from([{}, [], None, "text", {"tag": "ok"}]),
)


def test_the_schema_of_a_request_is_the_one_that_reads_it():
    """It is made of what the reader is made of; `SNAPPLAN_UPDATE_GOLDEN=1` writes it anew."""
    text = json.dumps(request_schema(), indent=2) + "\n"
    path = SCHEMAS / "request.schema.json"
    if os.environ.get("SNAPPLAN_UPDATE_GOLDEN"):
        path.write_text(text)
    assert path.read_text() == text


@given(requests)
def test_a_request_is_valid_by_the_schema_just_when_the_reader_takes_it(value):
    """Schema and reader give the same verdict on a request's shape."""
    assert REQUEST.is_valid(value) == (not request_from_plain(Document(value)).problems)


@pytest.mark.parametrize(
    ("where", "key", "most"),
    [
        ("machine-state", "max-bandwidth", 2**62),
        ("machine-state", "downtime-limit", 2_000_000),
        ("machine-state", "give-up-after", 604_800),
        ("freeze-filesystems", "at-most", 600),
    ],
)
def test_numbers_of_a_request_end_where_the_schema_says(where, key, most):
    """At each end, and just beyond it, by the reader and by the schema."""
    others = {"external": "/s", "capture": "live"} if where == "machine-state" else {"agent": "/a"}
    for value, taken in ((0, False), (1, True), (most, True), (most + 1, False), (True, False)):
        plain = {"tag": "t", "machine-state": "none", "disks": {}, where: {**others, key: value}}
        assert (not request_from_plain(Document(plain)).problems) is taken
        assert REQUEST.is_valid(plain) is taken


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_a_valid_request_and_makes_a_valid_plan(path):
    """Examples keep to the request schema, and their plans, in each design, to the plan schema."""
    REQUEST.validate(read_text(path.read_text(), path.name).value)
    facts = read_facts(path.with_suffix("").with_suffix(".facts.json").read_text())
    read = read_request(path.read_text())
    for design in ("monolithic", "transactional"):
        plan = plan_to_plain(compile_request(read, facts, design))
        PLAN.validate(json.loads(json.dumps(plan)))
        REQUEST.validate(request_to_plain(read.request))


texts = st.sampled_from(["", "a", "disk0", 3, None])
numbers = st.sampled_from([0, 7, "7", None, True])
manifest_parts = st.fixed_dictionaries(
    {"kind": st.sampled_from(["internal", "overlay", "stream", "raw", None])},
    optional={"disk": texts, "snapshot-id": texts, "vm-clock-ns": numbers, "more": st.just(1)},
)
manifests = st.fixed_dictionaries(
    {
        "format": st.just("snapplan-manifest"),
        "format-version": st.just(1),
        "tag": texts,
        "design": st.just("monolithic"),
        "program-digest": st.just(""),
        "qemu": st.sampled_from([{"major": 7, "minor": 2, "micro": 0}, {"major": 7}, None, []]),
        "machine": texts,
        "parts": st.lists(manifest_parts, max_size=2),
    },
    optional={
        "started-ns": numbers,
        "devices": st.sampled_from([[], [["disk0", "a"]], [["disk0"]], [["a", "b", "c"]], None]),
        "excluded": st.sampled_from([[], ["a"], [1], None]),
        "request-digest": texts,
        "more": st.just(1),
    },
)


@given(manifests)
def test_a_manifest_is_valid_by_the_schema_just_when_the_reader_takes_it(value):
    """Schema and reader give the same verdict on a manifest."""
    try:
        read_manifest(json.dumps(value))
    except BadInput:
        taken = False
    else:
        taken = True
    assert MANIFEST.is_valid(value) == taken


def changed(value, odd):
    """The same with each member in turn left out, added to, or of another type."""
    if isinstance(value, dict):
        yield {**value, "more": 1}
        for key, each in value.items():
            rest = {name: other for name, other in value.items() if name != key}
            yield rest
            yield {**rest, key: odd}
            yield from ({**rest, key: other} for other in changed(each, odd))
    elif isinstance(value, list) and value:
        yield from ([other, *value[1:]] for other in changed(value[0], odd))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("odd", [None, 7, []])
def test_what_the_schema_of_facts_takes_and_refuses(path, odd):
    """Facts files are valid; what the schema refuses of changed ones, the reader refuses too."""
    facts = json.loads(path.with_suffix("").with_suffix(".facts.json").read_text())
    FACTS.validate(facts)
    facts["schema"] = facts["schema"][:1]
    facts["disks"] = facts["disks"][:1]
    refused = 0
    for other in changed(facts, odd):
        if not FACTS.is_valid(other):
            refused += 1
            with pytest.raises(BadInput):
                read_facts(json.dumps(other))
    assert refused > 20
