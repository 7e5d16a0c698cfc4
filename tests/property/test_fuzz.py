"""Whatever is in a file: it is read, or refused in snapplan's own words; never a traceback.

`SNAPPLAN_FUZZ_TIMES` multiplies the number of examples, for a campaign.
"""

import json
import os

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.compile.plan import check_unchanged, compile_request
from planner.compile.plan_text import plan_to_plain, plan_to_text, read_plan
from planner.errors import BadInput, SnapplanError
from planner.model.facts_text import facts_to_plain, read_facts
from planner.model.request_text import read_request, request_to_plain
from planner.parts.holdings import holdings
from planner.parts.internal import InternalSnapshot
from planner.parts.manifest_text import manifest_to_plain, read_manifest
from planner.present.graph_view import dot, mermaid
from planner.present.holdings_view import holdings_text, holdings_to_plain
from planner.present.plan_view import plan_text, qmp_lines
from planner.present.vm_view import draft_request, inspect_text
from planner.present.words import error_text
from planner.recover.replay import replay
from planner.run.journal import checksum, read_journal
from planner.run.outcome import Outcome
from planner.run.phases import Phase
from planner.save.recording import manifest_of
from tests.property.tiny_vm import TinyVm
from tests.unit.build import facts, held, plan, qcow2, raw, whole
from tests.unit.journals import recorded_run

TIMES = int(os.environ.get("SNAPPLAN_FUZZ_TIMES", "1"))
quick = settings(max_examples=120 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))

VM = facts(
    qcow2("disk0", snapshots=(held("t"), held("u", "2"))), qcow2("disk1"), raw("vars0"),
    vm_uuid="u",
)  # fmt: skip
REQUEST = whole("disk0", "disk1", others="exclude", existing_tag="replace")
PLANS = {design: plan(design, VM, REQUEST) for design in ("monolithic", "transactional")}
MANIFEST = manifest_of(
    PLANS["monolithic"], VM, Outcome(Phase.DONE, "running"), address="", started_ns=1, ended_ns=2
)
MANIFEST = evolve(MANIFEST, parts=(InternalSnapshot("disk0", snapshot_id="3"),))
FILES = {
    "manifest": manifest_to_plain(MANIFEST),
    "request": request_to_plain(REQUEST.request),
    "facts": facts_to_plain(VM),
    **{design: plan_to_plain(made) for design, made in PLANS.items()},
}
READERS = {"manifest": read_manifest, "request": read_request, "facts": read_facts,
           "monolithic": read_plan, "transactional": read_plan}  # fmt: skip

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.just(10**40), st.floats(allow_nan=False),
    st.sampled_from(["", "t", "u", "disk0", "disk1", "vars0", "nobody", "running", "paused",
                     "as-before", "job", "reply", "internal", "stop", "cont", "#block1", "@disk0",
                     "\ud800", "\0", "SnapshotDisk", "delete-part", "none"]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["tag", "disks", "disk", "internal", "x"]), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


def checked(call, *arguments):
    """What comes, or None where snapplan refuses; anything else is raised."""
    try:
        return call(*arguments)
    except SnapplanError as refused:
        error = refused
    assert error.code
    error_text(error).encode("utf-8", "backslashreplace")
    return None


texts = st.one_of(
    st.text(max_size=200),
    st.text(alphabet="{}[]:,-\"'\n &*!|>%@#?~0aå\t\x00\ud800", max_size=60),
    st.builds(json.dumps, values),
    st.builds(lambda text: "tag: t\n" + text, st.text(max_size=60)),
)


def read_bytes(text):
    return read_journal(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("reader", [read_request, read_facts, read_plan, read_manifest, read_bytes])
@quick
@given(text=texts)
def test_any_text_is_read_or_refused(reader, text):
    """Arbitrary text and JSON."""
    checked(reader, text)


def paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list | tuple) else items
    for key, inner in items:
        yield from paths(inner, (*path, key))


def plain(name):
    return json.loads(json.dumps(FILES[name]))


PATHS = {
    name: [path for path in paths(plain(name)) if path and path[0] != "schema"] for name in FILES
}
SCHEMA_PATHS = [path for path in paths(plain("facts")) if path[:1] == ("schema",)]


def change(draw, document, places, like):
    """Drop, double, replace or swap something in a document."""
    *way, last = draw(st.sampled_from(places))
    inner = document
    try:
        for key in way:
            inner = inner[key]
        action = draw(st.sampled_from(["drop", "replace", "replace", "copy", "add"]))
        if action == "drop":
            del inner[last]
        elif action == "replace":
            inner[last] = draw(values)
        elif action == "add" and isinstance(inner[last], list):
            inner[last].append(draw(values))
        elif action == "add":
            inner[last]["extra"] = draw(values)
        else:  # what stands elsewhere in the same file has at least the right shape
            value = like
            for key in draw(st.sampled_from(places)):
                value = value[key]
            inner[last] = value
    except (KeyError, IndexError, TypeError):
        pass  # an earlier change took this place away


@st.composite
def mutated(draw, name, places=None):
    document = plain(name)
    for _ in range(draw(st.integers(1, 3))):
        change(draw, document, places or PATHS[name], plain(name))
    return json.dumps(document)


@quick
@given(text=mutated("request"))
def test_a_mutated_request_is_compiled_or_refused(text):
    """From reading to the plan file, and every view of it."""
    read = checked(read_request, text)
    made = read and checked(compile_request, read, VM)
    if made:
        assert read_plan(plan_to_text(made)) == made
        plan_text(made)


@quick
@given(text=st.one_of(mutated("facts"), mutated("facts", SCHEMA_PATHS)))
def test_mutated_facts_are_planned_with_or_refused(text):
    """Whatever a facts file holds, planning and showing it raise nothing of Python's."""
    vm = checked(read_facts, text)
    if vm is None:
        return
    inspect_text(vm)
    holdings_text(holdings((MANIFEST,), vm))
    checked(read_request, draft_request(vm, "t"))
    checked(check_unchanged, PLANS["transactional"], vm)
    for design in PLANS:
        made = checked(compile_request, REQUEST, vm, design)
        if made:
            assert read_plan(plan_to_text(made)) == made


@pytest.mark.parametrize("design", list(PLANS))
@settings(quick, max_examples=250 * TIMES)
@given(data=st.data())
def test_a_mutated_plan_is_refused_or_does_what_it_says(design, data):
    """A plan that is read and fits the VM makes just the parts that its resolution names."""
    made = checked(read_plan, data.draw(mutated(design)))
    if made is None:
        return
    for view in (plan_text, qmp_lines, mermaid, dot):
        view(made)
    if checked(check_unchanged, made, VM) is None:
        return
    resolution = made.program.resolution
    vm = TinyVm(VM).run([(step.execute, step.arguments) for step in made.program.steps])
    assert vm.faults == []
    assert {disk for disk in vm.images if vm.new(disk)} == {p.disk for p in resolution.internal}
    assert len({part.instant for part in vm.parts}) == 1
    assert vm.running == (resolution.run_state_after == "running")
    holders = [disk for disk in vm.images if any(s[2] for s in vm.new(disk))]
    assert holders == [resolution.vmstate]


@quick
@given(text=mutated("manifest"))
def test_a_mutated_manifest_is_read_or_refused(text):
    """What is read is listed and written again; nothing else is raised."""
    manifest = checked(read_manifest, text)
    if manifest:
        holdings_to_plain(holdings((manifest,), VM))
        assert read_manifest(json.dumps(manifest_to_plain(manifest))) == manifest


JOURNALS = {design: recorded_run(design).encode() for design in PLANS}


@quick
@given(data=st.data())
def test_a_damaged_journal_is_read_as_far_as_it_is_whole(data):
    """Cut, changed or doubled bytes: a part of the records, in order, or a refusal."""
    raw = JOURNALS[data.draw(st.sampled_from(list(JOURNALS)))]
    whole = read_journal(raw).records
    damaged = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(["cut", "flip", "insert"])):
            case "cut":
                del damaged[at:]
            case "flip" if at < len(damaged):
                damaged[at] ^= data.draw(st.integers(1, 255))
            case _:
                damaged[at:at] = data.draw(st.binary(max_size=9))
    journal = checked(read_journal, bytes(damaged))
    if journal:
        assert journal.records == whole[: len(journal.records)]
        assert replay(journal).machine.context.phase


@quick
@given(data=st.data())
def test_a_forged_journal_is_replayed_or_refused(data):
    """Records with other contents and right checksums: refused in snapplan's words, or replayed."""
    lines = JOURNALS[data.draw(st.sampled_from(list(JOURNALS)))].decode().splitlines()
    documents = [json.loads(line) for line in lines]
    number = data.draw(st.integers(0, len(documents) - 1))
    document = documents[number]
    places = [path for path in paths(document) if path and "schema" not in path]
    change(data.draw, document, places, json.loads(lines[number]))
    document.pop("checksum", None)
    document = {"checksum": checksum(document), **document}
    lines[number] = json.dumps(document)
    journal = checked(read_journal, "\n".join([*lines, ""]).encode("utf-8", "surrogatepass"))
    if journal:
        checked(replay, journal)


@pytest.mark.parametrize("kind", [[], {}, 7, None])
def test_a_plan_of_no_kind_is_refused(kind):
    """Whatever stands where a plan names its format, as what is not text."""
    header, *records = map(json.loads, JOURNALS["monolithic"].decode().splitlines())
    header["plan"]["format"] = kind
    header.pop("checksum")
    lines = [{"checksum": checksum(header), **header}, *records]
    journal = read_journal("".join(f"{json.dumps(line)}\n" for line in lines).encode())
    with pytest.raises(BadInput):
        replay(journal)
