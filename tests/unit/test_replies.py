"""Facts are what real QEMUs answered, and an answer of another shape is said to be one."""

import copy
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from planner.errors import CannotConnect
from planner.model.facts import Bitmap, ChainNode
from planner.model.facts_text import facts_to_plain, read_facts
from planner.model.replies import jobs_of, run_state_of, snapshots_of
from planner.run.actions import ErrorReply, NoAnswer
from tests.unit.recorded import VERSIONS, ask, replies

versions = pytest.mark.parametrize("version", VERSIONS)


def disks_of(version="7.2"):
    return {disk.name: disk for disk in ask(replies(version)).disks}


@versions
def test_the_recorded_vm_is_seen_as_it_is(version):
    """Version, machine, run state, name, jobs and the disks of a real QEMU."""
    facts = ask(replies(version))
    assert str(facts.qemu).startswith(version)
    assert facts.machine.startswith("pc-i440fx-")
    assert (facts.run_state, facts.target, facts.vm_name) == ("prelaunch", "x86_64", "vm0")
    assert facts.vm_uuid == "11111111-2222-3333-4444-555555555555"
    assert [(job.id, job.type) for job in facts.jobs] == [("mirror0", "mirror")]
    assert [disk.name for disk in facts.disks] == [
        "disk0", "disk1-format", "disk2", "disk4", "disk5", "drive0", "drive1", "ro0", "spare",
        "target", "vars0",
    ]  # fmt: skip


@versions
def test_each_kind_of_disk_is_recognised(version):
    """Filters, backing chains, data files, bitmaps, snapshots, devices, read-only, busy."""
    disks = disks_of(version)
    assert disks["disk0"].snapshots[0].name == "old"
    assert disks["disk0"].bitmaps == (Bitmap("b0", persistent=True),)
    assert disks["disk0"].qdev_id == "dev0"
    filtered = disks["disk1-format"]
    assert [layer.node for layer in filtered.filters] == ["disk1"]
    assert (filtered.node, filtered.root) == ("disk1-format", "disk1")
    assert set(filtered.names) == {
        "disk1", "disk1-format", "dev1", "/machine/peripheral/dev1/virtio-backend",
    }  # fmt: skip
    assert disks["disk2"].backing == (ChainNode("disk2-base", "qcow2", "base.qcow2"),)
    assert disks["disk2"].below == ("disk2-base",)
    assert disks["disk4"].data_file
    assert [name for name, disk in disks.items() if disk.data_file] == ["disk4"]
    assert [name for name, disk in disks.items() if disk.read_only] == ["ro0"]
    assert [name for name, disk in disks.items() if not disk.attached] == ["spare", "target"]
    assert [name for name, disk in disks.items() if disk.users] == ["disk5", "target"]
    assert disks["vars0"].driver == "raw"
    assert disks["vars0"].virtual_size_bytes == 1 << 20
    assert all(disk.active for disk in disks.values())


@versions
def test_automatic_node_names_reach_no_file(version):
    """`-drive` disks are called by their ids, and what they are called now stays in memory."""
    facts = ask(replies(version))
    drives = [disk for disk in facts.disks if disk.name.startswith("drive")]
    assert [(disk.node, disk.root) for disk in drives] == [
        ("@drive0", "drive0"),
        ("@drive1", "drive1"),
    ]
    assert set(facts.live_nodes) == {"@drive0", "@drive1"}
    assert all(node.startswith("#block") for node in facts.live_nodes.values())
    text = json.dumps(facts_to_plain(facts))
    assert "#block" not in text
    back = read_facts(text)
    assert back == facts
    assert back.live_nodes == {}


def test_an_inactive_node_is_seen_from_10_0_on():
    """10.0 and later show `active` (fact 29); 7.2 does not, and is taken at its word."""
    answers = replies("11.1")
    for node in answers["query-named-block-nodes"]:
        node["active"] = False
    assert not any(disk.active for disk in ask(answers).disks)


def test_a_block_job_that_cannot_be_placed_makes_every_disk_busy():
    """Without the block graph, which is unstable, nobody knows what a job uses."""
    answers = replies()
    answers["x-debug-query-block-graph"] = ErrorReply("CommandNotFound", "gone")
    assert all("mirror0" in disk.users for disk in ask(answers).disks)


def test_no_block_job_needs_no_block_graph():
    """The unstable query is asked only where there is a block job."""
    answers = replies()
    answers["query-block-jobs"] = []
    del answers["x-debug-query-block-graph"]
    assert not any(disk.users for disk in ask(answers).disks)


def test_an_image_that_two_devices_share_is_one_disk():
    """It has one part, and its name means one disk; a file of such facts can be read."""
    answers = replies()
    shared = next(entry for entry in answers["query-block"] if "dev0" in entry["qdev"])
    answers["query-block"].append({**shared, "qdev": "/machine/peripheral/second/virtio-backend"})
    facts = ask(answers)
    assert facts == ask(replies())
    assert read_facts(json.dumps(facts_to_plain(facts))) == facts


def test_what_qemu_may_lack_is_left_empty():
    """Name, UUID and target are nice to have."""
    answers = replies()
    for command in ("query-name", "query-uuid", "query-target"):
        del answers[command]
    facts = ask(answers)
    assert (facts.vm_name, facts.vm_uuid, facts.target) == ("", "", "")


def test_a_uuid_of_zeros_is_none():
    """QEMU says zeros where nobody gave a UUID, so they tell no VM from another."""
    answers = replies()
    answers["query-uuid"] = {"UUID": "00000000-0000-0000-0000-000000000000"}
    assert ask(answers).vm_uuid == ""


@pytest.mark.parametrize("answer", [ErrorReply("x", "no"), NoAnswer("gone", lost=True)])
@pytest.mark.parametrize("command", ["query-version", "query-block", "query-status"])
def test_a_question_that_must_be_answered_and_is_not(command, answer):
    """The command is named, and the code is `query-failed`."""
    with pytest.raises(CannotConnect) as error:
        ask({**replies(), command: answer})
    assert error.value.code == "query-failed"
    assert command in error.value.message


def test_silence_is_no_refusal():
    """A question that QEMU may not know, and does not answer at all, is a failure."""
    with pytest.raises(CannotConnect) as error:
        ask({**replies(), "query-name": NoAnswer("silent", lost=False)})
    assert error.value.code == "query-failed"


@pytest.mark.parametrize("command", sorted(set(replies()) - {"x-debug-query-block-graph"}))
@pytest.mark.parametrize("answer", [7, "text", [7], {"a": 7}, [{}], {}, [], True, [[]]])
def test_an_answer_of_another_shape_is_reply_malformed(command, answer):
    """Whatever comes for whatever question: facts, or one error with its code."""
    try:
        ask({**replies(), command: answer})
    except CannotConnect as error:
        code = error.code
        assert code == "reply-malformed"


def places(value, path=()):
    """Every path into a JSON value."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from places(inner, (*path, number))


PLACES = {
    version: [path for path in places(replies(version)) if path and path[0] != "query-qmp-schema"]
    + [path for path in places(replies(version)) if path[:1] == ("query-qmp-schema",)][:300]
    for version in VERSIONS
}
json_values = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 10), st.floats(allow_nan=False), st.just(2**80),
    st.sampled_from(["", "disk0", "#block7", "@x", "qcow2", "\ud800", "x" * 70]),
    st.sampled_from([[], {}, [{}], [[]], {"node-name": "x"}, [None]]),
)  # fmt: skip
mutations = st.sampled_from(VERSIONS).flatmap(
    lambda version: st.tuples(
        st.just(version),
        st.lists(
            st.tuples(st.sampled_from(PLACES[version]), st.one_of(st.just("drop"), json_values)),
            min_size=1,
            max_size=3,
        ),
    )
)


def mutated(version, changes):
    answers = copy.deepcopy(replies(version))
    for path, value in changes:
        *way, last = path
        inner = answers
        try:
            for key in way:
                inner = inner[key]
            if value == "drop":
                del inner[last]
            else:
                inner[last] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took this place away
    return answers


REFCOUNTS = ("query-named-block-nodes", 14, "image", "format-specific", "data")


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutations)
@example(("11.1", [(("query-block", 0, "device"), "#block7")]))
@example(("7.2", [((*REFCOUNTS, "refcount-bits"), 1 << 80)]))
def test_mutated_answers_give_facts_or_one_clear_error(case):
    """Real answers with some values dropped or replaced: never a traceback."""
    answers = mutated(*case)
    try:
        facts = ask(answers)
    except CannotConnect as error:
        assert error.code in ("reply-malformed", "query-failed")  # noqa: PT017
        return
    text = json.dumps(facts_to_plain(facts))
    assert "#block" not in "".join(disk.node + disk.root for disk in facts.disks)
    assert read_facts(text) == facts


def test_a_look_reads_the_same_answers():
    """What a run looks at while it runs: run state, snapshots by node, jobs with their errors."""
    answers = replies()
    assert run_state_of(answers["query-status"]) == "prelaunch"
    assert [s.name for s in snapshots_of(answers["query-named-block-nodes"])["disk0"]] == ["old"]
    (job, error), *_ = jobs_of([{"id": "j", "type": "t", "status": "concluded", "error": "why"}])
    assert (job.id, job.status, error) == ("j", "concluded", "why")


@pytest.mark.parametrize("reader", [run_state_of, snapshots_of, jobs_of])
@pytest.mark.parametrize("answer", [None, 7, {"a": 1}, [7], [{"id": 7}], {"status": 7}])
def test_a_malformed_look_is_reply_malformed(reader, answer):
    """The run can tell a malformed answer from any other trouble."""
    with pytest.raises(CannotConnect) as error:
        reader(answer)
    assert error.value.code == "reply-malformed"


@versions
def test_a_drive_under_an_overlay_keeps_its_name(version):
    """An image without a name of its own, under an overlay of snapplan's: the disk is its -drive id."""
    told = replies(version)
    block = next(each for each in told["query-block"] if each["device"] == "drive0")
    image = block["inserted"]["node-name"]
    text = json.dumps(told).replace(json.dumps(image), '"snapplan-0123456789ab"')
    (disk,) = [disk for disk in ask(json.loads(text)).disks if disk.drive_id == "drive0"]
    assert (disk.name, disk.node) == ("drive0", "snapplan-0123456789ab")


def options(file, **more):
    return "json:" + json.dumps({"driver": "qcow2", "file": file, **more})


def shown_as(name, *, below="file", driver="qcow2"):
    """A recorded VM whose disk0 is shown by this name, over a node of that driver."""
    answers = copy.deepcopy(replies("7.2"))
    stats = {stat.get("node-name"): stat for stat in answers["query-blockstats"]}
    file = stats["disk0"]["parent"]["node-name"]
    for node in answers["query-named-block-nodes"]:
        if node["node-name"] == "disk0":
            node["drv"] = driver
            node["image"]["filename"] = name
        elif node["node-name"] == file:
            node["drv"] = below
    return {disk.node: disk for disk in ask(answers).disks}["disk0"].filename


def test_an_image_is_named_by_the_node_below_its_format():
    """Whatever the options are, also where QEMU cut them off; a piece of a file is not the file."""
    file = disks_of()["disk0"].filename
    whole = options({"driver": "file", "filename": file})
    assert shown_as(whole) == file
    assert shown_as(whole[:40] + "...") == file
    assert shown_as("json:{}", below="luks") == "json:{}"
    assert shown_as("json:{}", driver="quorum") == "json:{}"
    assert shown_as(whole, driver="raw") == file
    piece = options({"driver": "file", "filename": file}, offset=512)
    assert shown_as(piece, driver="raw") == piece
    assert shown_as("json:{", driver="raw") == "json:{"
