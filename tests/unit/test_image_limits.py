"""What an image cannot hold is found before anything is done."""

import json

import pytest

from planner.compare.request_per_design import adapt
from planner.compile.plan import compile_request
from planner.errors import Refused
from planner.lint import lint, read_listing
from planner.model.facts_text import facts_to_plain, read_facts
from planner.model.request_text import read_request
from planner.present.vm_view import draft_request, inspect_text, inspection_to_plain
from planner.semantics import execute, state_from_facts
from tests.unit.build import facts, held, qcow2, raw, request, streamed, whole
from tests.unit.recorded import ask, replies

SECRET = qcow2("disk0", encrypted=True, key_secret="s")
PLAIN = qcow2("disk1")
# As QEMU names an encrypted image: its options, spelled out.
SPELLED = qcow2(
    "disk0",
    encrypted=True,
    filename='json:{"encrypt.key-secret": "s", "driver": "qcow2", "file": '
    '{"driver": "file", "filename": "/vm/disk0.qcow2"}}',
)


def refusal(the_request, the_facts):
    with pytest.raises(Refused) as error:
        compile_request(the_request, the_facts)
    return error.value.problems


def test_an_encrypted_image_holds_no_machine_state():
    """QEMU would abort (fact 66); the way out is another disk, where there is one, or a file."""
    (problem,) = refusal(whole("disk0", "disk1"), facts(SECRET, PLAIN))
    assert (problem.code, problem.subject) == ("vmstate-encrypted", "disk0")
    assert "'disk1'" in problem.remedy
    (problem,) = refusal(whole("disk0"), facts(SECRET))
    assert "external" in problem.remedy


@pytest.mark.parametrize("design", ["monolithic", "transactional"])
def test_an_encrypted_image_is_a_part(design):
    """Machine state beside it, or in a file."""
    the_facts = facts(SECRET, PLAIN)
    assert compile_request(whole("disk0", "disk1", vmstate="disk1"), the_facts, design)
    plan = compile_request(streamed("stopped", "disk0", "disk1"), the_facts)
    assert [w for w in plan.program.resolution.warnings if "disk0" in w and "memory" in w]


def test_a_raw_container_is_refused_for_its_format_alone():
    """Nothing is said of encryption where the format already forbids it."""
    luks = qcow2("disk0", driver="luks", encrypted=True)
    assert codes_of(refusal(whole("disk0"), facts(luks))) == ["format-without-snapshots"]


def codes_of(problems):
    return [problem.code for problem in problems]


def test_an_encrypted_disk_gets_no_overlay():
    """It would not be encrypted, and could not be opened again without the key."""
    problems = refusal(streamed("stopped", overlays=["disk0"]), facts(SPELLED))
    assert codes_of(problems) == ["overlay-over-encrypted"]


def warnings(the_request):
    return compile_request(the_request, facts(SECRET, PLAIN)).program.resolution.warnings


def test_what_needs_the_key_to_go_back_is_a_warning():
    """Offline nobody but its owner works on the encrypted disk; a running VM loads it."""
    assert [w for w in warnings(streamed("stopped", "disk0", "disk1")) if "--secret s=FILE" in w]
    alone = request(disks={"disk0": "internal", "disk1": "internal"})
    assert [w for w in warnings(alone) if "--secret s=FILE" in w]
    inside = warnings(whole("disk0", "disk1", vmstate="disk1"))
    assert [w for w in inside if w.startswith("[image-encrypted] disk0")]
    assert not [w for w in inside if "load --vm" in w]


def test_compare_puts_machine_state_where_it_can_be():
    """Not on the first disk, if that is encrypted."""
    adapted = adapt(streamed("stopped", "disk0", "disk1"), facts(SECRET, PLAIN), "monolithic")
    assert adapted.read.request.machine_state.disk == "disk1"


def test_check_finds_it_in_a_hand_written_sequence():
    """And says nothing where the state goes elsewhere."""
    the_facts = facts(SECRET, PLAIN)
    line = {"execute": "snapshot-save"}
    arguments = {"job-id": "j", "tag": "t", "devices": ["disk0", "disk1"]}
    for holder, expected in (("disk0", True), ("disk1", False)):
        text = json.dumps({**line, "arguments": {**arguments, "vmstate": holder}})
        found = {finding.rule for finding in lint(read_listing(text, "x"), the_facts).findings}
        assert ("vmstate-encrypted" in found) is expected


@pytest.mark.parametrize("version", ["7.2", "10.0", "11.1"])
def test_the_simulated_qemu_aborts_as_the_real_one_does(version):
    """Machine state into an encrypted image; its own part alone is taken."""
    state = state_from_facts(facts(SECRET, PLAIN, version=version))
    arguments = {"job-id": "j", "tag": "t", "devices": ["disk0", "disk1"]}
    assert not execute(state, "snapshot-save", {**arguments, "vmstate": "disk1"}).state.died
    assert execute(state, "snapshot-save", {**arguments, "vmstate": "disk0"}).state.died


def snapshots(count):
    return tuple(held(f"s{number}", str(number)) for number in range(1, count + 1))


@pytest.mark.parametrize(("bits", "most"), [(1, 0), (2, 2), (4, 14), (8, 254)])
def test_narrow_reference_counts(bits, most):
    """Room for 2^N - 2 (fact 67), and a replaced snapshot gives its room to the new one."""
    full = facts(qcow2("disk0", refcount_bits=bits, snapshots=snapshots(most)))
    (problem,) = refusal(request(disks={"disk0": "internal"}), full)
    assert problem.code == "snapshots-full"
    if most:
        space = facts(qcow2("disk0", refcount_bits=bits, snapshots=snapshots(most - 1)))
        assert compile_request(request(disks={"disk0": "internal"}), space)
        again = request("s1", disks={"disk0": "internal"}, existing_tag="replace")
        assert compile_request(again, full)


def test_an_image_that_says_it_is_damaged():
    """QEMU refuses to write to it."""
    problems = refusal(request(disks={"disk0": "internal"}), facts(qcow2("disk0", corrupt=True)))
    assert codes_of(problems) == ["image-corrupt"]


def test_a_draft_puts_machine_state_where_it_can_be():
    """On another disk, else in a file; and an image without room gets an overlay."""
    cases = (
        (facts(SECRET, PLAIN), "internal: disk1"),
        (facts(SECRET), 'external: "/vm/'),
        (facts(SPELLED), 'external: "/vm/'),
    )
    for the_facts, where in cases:
        draft = draft_request(the_facts, "t")
        assert where in draft.split("machine-state:")[1].splitlines()[0]
        assert compile_request(read_request(draft), the_facts)
    full = facts(qcow2("disk0", refcount_bits=1), PLAIN)
    assert "disk0: {external" in draft_request(full, "t")
    assert compile_request(read_request(draft_request(full, "t")), full)


def test_inspect_says_it():
    """Before anybody writes a request."""
    the_facts = facts(SECRET, qcow2("disk1", refcount_bits=1), raw("vars0"))
    text = inspect_text(the_facts)
    assert "no machine state: encrypted" in text
    assert "room for no snapshot" in text
    told = {disk["name"]: disk for disk in inspection_to_plain(the_facts)["disks"]}
    assert [(d["internal"], d["machine-state"]) for d in told.values()] == [
        (True, False),
        (False, False),
        (False, False),
    ]


@pytest.mark.parametrize("version", ["7.2", "10.0", "11.1"])
def test_what_qemu_says_of_an_image_becomes_a_fact(version):
    """Its refcount bits, its damage, its encryption; and a file of facts keeps them."""
    answers = replies(version)
    node = next(n for n in answers["query-named-block-nodes"] if n["node-name"] == "disk0")
    node["encrypted"] = True
    node["image"]["format-specific"]["data"] |= {"refcount-bits": 1, "corrupt": True}
    found = ask(answers)
    disk = next(disk for disk in found.disks if disk.name == "disk0")
    assert (disk.encrypted, disk.refcount_bits, disk.corrupt) == (True, 1, True)
    assert read_facts(json.dumps(facts_to_plain(found))) == found
