"""Views of tiny plans, VMs, runs and errors."""

import json

import pytest
import yaml
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.compile.plan import compile_request
from planner.errors import BadInput, Problem, Refused
from planner.inspect.draft import draft_of, free_tag
from planner.inspect.verifying import verify_by_facts
from planner.model.facts import ChainNode, SnapshotInfo
from planner.model.image import Image
from planner.model.request import Exclude
from planner.model.request_text import read_request
from planner.parts.holdings import holdings
from planner.parts.internal import InternalSnapshot
from planner.parts.make_internal import MakeInternal
from planner.parts.make_overlay import MakeOverlay
from planner.parts.manifest import Manifest
from planner.parts.stream import StateStream
from planner.present.graph_view import dot, mermaid
from planner.present.holdings_view import holdings_text, holdings_to_plain
from planner.present.outcome_view import outcome_text, outcome_to_plain
from planner.present.plan_view import plan_text, qmp_lines
from planner.present.tables import table, wrapped_at
from planner.present.vm_view import (
    draft_request,
    inspect_text,
    inspection_to_plain,
)
from planner.present.words import bytes_text, error_text, error_to_plain
from planner.run.outcome import Outcome
from planner.run.phases import Phase
from tests.property.worlds import machines
from tests.unit.build import (
    drive,
    facts,
    held,
    plan,
    qcow2,
    raw,
    request,
    streamed,
    two_disks,
    whole,
)
from tests.unit.fake_vm import run

TINY = plan("monolithic", facts(qcow2("disk0")), whole("disk0"))


def test_mermaid_of_a_tiny_plan():
    """Steps are boxes around operations, edges carry their rules."""
    assert (
        mermaid(TINY)
        == """\
flowchart TD
  subgraph s1["1. snapshot-save"]
    n0["PauseGuest()"]
    n1["WriteVmstate(disk0)"]
    n2["SnapshotDisk(disk0)"]
    n4["DiscardVmstate(disk0)"]
    n3["ResumeGuest()"]
  end
  n0 -- "one-instant" --> n1
  n0 -- "one-instant" --> n2
  n0 -- "one-instant" --> n3
  n1 -- "vmstate-before-snapshot" --> n2
  n1 -- "one-instant" --> n3
  n1 -- "snapshot-before-discard" --> n4
  n2 -- "one-instant" --> n3
  n2 -- "snapshot-before-discard" --> n4
"""
    )


def overlaid(count):
    """The text of a plan with so many overlays, one part that is replaced, and one disk left out."""
    names = [f"disk{number:03}" for number in range(count)]
    disks = [qcow2(name, snapshots=(held("t"),)) for name in ("a", "b", *names)]
    wanted = streamed("stopped", "a", overlays=names, others="exclude", existing_tag="replace")
    return plan_text(plan("auto", facts(*disks, version="10.0"), wanted))


def test_a_plan_of_many_overlays_is_no_longer_than_one_of_some():
    """What is alike is shown for the first ones and counted, and no reason is there twice."""
    text = overlaid(60)
    lines = text.splitlines()
    assert len(lines) == len(overlaid(200).splitlines()) <= 90
    reasons = [line for line in lines if line.strip().startswith("not design")]
    assert len(reasons) == len(set(reasons)) == 3
    assert "  and 54 more: external, asked for" in lines
    likewise = [line.split(". ") for line in lines if line.endswith(", likewise")]
    assert [name for _, name in likewise] == ["create-overlay, likewise", "blockdev-add, likewise"]
    spans = [[int(number) for number in numbers.split(" to ")] for numbers, _ in likewise]
    assert [last - first + 1 for first, last in spans] == [58, 58]
    assert (
        "SwitchToOverlay(disk000, disk001, disk002, disk003, disk004, disk005 and 54 more)" in text
    )


def test_a_plan_of_few_steps_of_one_command_shows_them_all():
    """Six is few."""
    assert overlaid(6).count("blockdev-add\n") == 6
    assert "likewise" not in overlaid(6)
    assert "and 1 more: external, asked for" in overlaid(7)
    assert "likewise" in overlaid(7)


def test_dot_of_a_tiny_plan():
    """The same graph in Graphviz' language."""
    lines = dot(TINY).splitlines()
    assert lines[0] == "digraph snapshot {"
    assert lines[-1] == "}"
    assert '    n1 [label="WriteVmstate(disk0)"];' in lines
    assert '  n1 -> n2 [label="vmstate-before-snapshot"];' in lines
    assert sum("->" in line for line in lines) == 8


def test_qmp_of_a_tiny_plan():
    """One JSON object a line, as a client would send it."""
    (line,) = qmp_lines(TINY).splitlines()
    command = json.loads(line)
    assert command["execute"] == "snapshot-save"
    assert command["arguments"]["devices"] == ["disk0"]
    only = request("t", "none", {"disk0": "internal"}, run_state_after="paused")
    stop = qmp_lines(plan("auto", facts(qcow2("disk0")), only)).splitlines()[0]
    assert json.loads(stop) == {"execute": "stop"}


def test_text_of_a_plan_names_the_parts_the_reasons_and_the_undo():
    """What, why, in which order, and how it is undone."""
    text = plan_text(plan("transactional"))
    for words in (
        "machine state  internal, in disk0",
        "run state      running -> running",
        "default: not said in the request",
        "1. stop",
        "3. transaction  (all or nothing)",
        "delete the new snapshot of disk1, by id and name",
        "the guest is paused meanwhile",
    ):
        assert words in text


def test_many_disks_are_counted_not_listed():
    """A plan of two hundred disks still fits on a screen."""
    names = [f"disk{number:03}" for number in range(200)]
    vm = facts(*map(qcow2, names))
    text = plan_text(plan("transactional", vm, whole(names[0], others="internal")))
    assert "and 194 more" in text
    assert len(text.splitlines()) < 40
    assert max(map(len, text.splitlines())) < 250


def test_a_finished_run_shows_each_part():
    """In words and as plain values: disk, id, clock, size, and how long the guest was paused."""
    the_plan = plan("transactional")
    outcome, _ = run(the_plan.program, two_disks())
    text = outcome_text(the_plan.program, outcome)
    assert text.startswith("Snapshot 't' is complete (transactional); the VM is running; the guest")
    plain = outcome_to_plain(the_plan.program, outcome)
    assert [part["disk"] for part in plain["parts"]] == ["disk0", "disk1"]
    assert [part["vm-state-size"] for part in plain["parts"]] == ["99", "0"]
    assert plain["pause-us"] == outcome.pause_us
    assert json.loads(json.dumps(plain)) == plain
    for resumed_us in (4, 2**62):  # a clock that was set, and a peer that dates nonsense
        odd = Outcome(Phase.DONE, "running", events=(("STOP", 5), ("RESUME", resumed_us)))
        assert odd.pause_us is None
    quiet = outcome_text(the_plan.program, Outcome(Phase.DONE, "paused"))
    assert "paused for" not in quiet


def test_inspecting_says_for_each_disk_whether_and_why_not():
    """Each disk once, with the first reason against it."""
    vm = facts(
        qcow2("disk0", snapshots=(held("t"),)), raw("vars0"), drive("sys"),
        qcow2("spare", qdev=""), qcow2("busy", users=("mirror0",)), blocked_reasons=("vfio",),
    )  # fmt: skip
    text = inspect_text(vm)
    assert "QEMU 7.2.22, machine pc-i440fx-7.2, running" in text
    assert "yes (1 held)" in text
    assert "no: a raw image holds no internal snapshots" in text
    assert "(no device)" in text
    assert "machine state cannot be saved: vfio" in text
    plain = inspection_to_plain(vm)
    assert {d["name"]: d["internal"] for d in plain["disks"]} == {
        "disk0": True, "vars0": False, "sys": True, "spare": True, "busy": False,
    }  # fmt: skip
    assert all(bool(d["why-not"]) is not d["internal"] for d in plain["disks"])
    assert json.loads(json.dumps(plain)) == plain


@settings(max_examples=40, deadline=None)
@given(vm=machines(able=False), tag=st.sampled_from(["t", "12", "ja: nein", "#x", "ü 🎉", 'a"b']))
def test_a_drafted_request_is_a_request_that_the_vm_can_do(vm, tag):
    """The draft reads back with its tag, and compiles, unless nothing at all can be done with the VM."""
    tag = free_tag(vm, tag)
    read = read_request(draft_request(vm, tag))
    assert {problem.code for problem in read.problems} <= {"tag-all-digits"}
    assert read.request.tag == tag
    if read.problems:
        return
    try:
        compile_request(read, vm)
    except Refused as error:
        found = {problem.code for problem in error.problems}
        busy = {"run-state-unsupported", "migration-active", "snapshot-job-active"}
        nothing = {"nothing-to-snapshot"} if not any(map(can_be_a_part, vm.disks)) else set()
        assert found <= busy | nothing


def can_be_a_part(disk):
    if disk.users or disk.read_only or not disk.attached:
        return False
    return not any(MakeInternal().can_be(disk)) or not any(MakeOverlay().can_be(disk))


@pytest.mark.parametrize("name", ["on", "12", "1e3", "a: b", "-", "null", "é", "🎉", "a#b", "~"])
def test_a_name_survives_the_draft_whatever_yaml_makes_of_it(name):
    """A disk called `on` stays text."""
    read = read_request(draft_request(facts(qcow2(name)), "t"))
    assert read.problems == ()
    assert [disk for disk, _ in read.request.disks] == [name]
    assert yaml.safe_load(draft_request(facts(qcow2(name)), "t"))["disks"] == {name: "internal"}


def snapshots_of(*snapshots, other=()):
    return facts(qcow2("a", snapshots=snapshots), qcow2("b", snapshots=other))


@pytest.mark.parametrize(
    ("vm", "finding"),
    [
        (snapshots_of(SnapshotInfo("1", "t", 5, 9), other=(SnapshotInfo("1", "t", 5),)), "one instant"),
        (
            snapshots_of(SnapshotInfo("1", "t", 5, 9), other=(SnapshotInfo("1", "t", 6),)),
            "parts of different instants",
        ),
        (
            snapshots_of(SnapshotInfo("1", "t", 5, 9), other=(SnapshotInfo("1", "t", 5, 9),)),
            "machine state on several disks",
        ),
        (
            snapshots_of(SnapshotInfo("1", "t", 5), SnapshotInfo("2", "t", 5)),
            "several of that tag on one disk",
        ),
        (snapshots_of(SnapshotInfo("1", "t", 5)), "disks only"),
    ],
)  # fmt: skip
def test_a_listed_tag_says_what_its_parts_show(vm, finding):
    """Torn, doubled and disk-only snapshots are told from whole ones."""
    found = holdings((), vm)
    assert f"t  (foreign, {finding})" in holdings_text(found)
    (entry,) = holdings_to_plain(found)["snapshots"]
    assert entry["finding"] == finding


def test_a_vm_without_snapshots_says_so():
    """No table without rows."""
    assert holdings_text(holdings((), two_disks())) == "no snapshots"
    assert holdings_to_plain(holdings((), two_disks()))["snapshots"] == []


def recorded(vm, *files):
    """A manifest of what the disks hold as `t`, and of a stream and an overlay."""
    parts = [
        InternalSnapshot(
            disk.name, file=disk.filename, snapshot_id=s.id,
            vm_clock_ns=s.vm_clock_ns, vm_state_size_bytes=s.vm_state_size_bytes,
        )
        for disk in vm.disks
        for s in disk.snapshots
    ]  # fmt: skip
    parts += [StateStream(file=file, vm_state_size_bytes=7) for file in files]
    return Manifest("t", "monolithic", "", vm.qemu, vm.machine, tuple(parts))


WHOLE = snapshots_of(SnapshotInfo("1", "t", 5, 9), other=(SnapshotInfo("1", "t", 5),))


def test_a_recorded_snapshot_is_complete_while_every_part_is_there():
    """A missing part, a crept-in one and one of another instant are each told, and by disk."""
    manifest = recorded(WHOLE)
    (whole,) = holdings((manifest,), WHOLE)
    assert (whole.standing, whole.missing, whole.extra) == ("complete", (), ())
    (lost,) = holdings((manifest,), snapshots_of(SnapshotInfo("1", "t", 5, 9)))
    assert [part.disk for part in lost.missing] == ["b"]
    assert "missing from" in holdings_text((lost,))
    swapped = snapshots_of(SnapshotInfo("1", "t", 5, 9), other=(SnapshotInfo("1", "t", 6),))
    (other,) = holdings((manifest,), swapped)
    assert other.standing == "incomplete"
    assert [disk.name for disk, _ in other.extra] == ["b"]
    assert "t  (incomplete, 1 missing, 1 extra, parts of different instants)" in holdings_text(
        (other,)
    )
    (plain,) = holdings_to_plain((other,))["snapshots"]
    assert [part["extra"] for part in plain["parts"]] == [False, True]


def test_a_file_that_is_gone_is_a_missing_part():
    """Of external parts their files are looked for."""
    manifest = recorded(WHOLE, "/state")
    (there,) = holdings((manifest,), WHOLE)
    assert there.standing == "complete"
    assert "stream /state" in holdings_text((there,))
    (gone,) = holdings((manifest,), WHOLE, {"/state"})
    assert [part.file for part in gone.missing] == ["/state"]


def test_a_snapshot_that_is_not_as_it_was_is_not_complete():
    """What `verify` finds is listed; a part that it calls lost is a missing one."""
    manifest = recorded(WHOLE)
    other = Problem("machine-differs", "vm", "the machine type was 'a' and is 'b'")
    (found,) = holdings((manifest,), WHOLE, findings={"t": [other]})
    assert (found.standing, found.missing) == ("differs", ())
    assert "t  (differs, one instant)" in holdings_text((found,))
    assert str(other) in holdings_text((found,))
    (plain,) = holdings_to_plain((found,))["snapshots"]
    assert [each["code"] for each in plain["findings"]] == ["machine-differs"]
    lost = Problem("part-overwritten", "a", "the guest writes to it")
    (found,) = holdings((manifest,), WHOLE, findings={"t": [lost]})
    assert (found.standing, [part.disk for part in found.missing]) == ("incomplete", ["a"])


def test_a_part_under_an_overlay_is_a_part():
    """Where the images below are known it is told there; where they are not, nothing is said of it."""
    manifest = recorded(WHOLE)
    bases = {
        disk.filename: Image(disk.filename, "qcow2", snapshots=disk.snapshots)
        for disk in WHOLE.disks
    }
    overlaid = evolve(
        WHOLE,
        disks=tuple(
            evolve(
                disk,
                filename=f"{disk.filename}.overlay",
                snapshots=(),
                backing=(ChainNode("base", "qcow2", disk.filename),),
            )
            for disk in WHOLE.disks
        ),
    )
    (found,) = holdings((manifest,), overlaid, below=bases)
    assert (found.standing, found.missing, len(found.below)) == ("complete", (), 2)
    assert "t  (complete, one instant)" in holdings_text((found,))
    assert "which the guest does not write to" in holdings_text((found,))
    (unknown,) = holdings((manifest,), overlaid)
    assert (unknown.standing, unknown.below) == ("complete", ())
    assert not [each for each in verify_by_facts(manifest, overlaid) if each.subject in {"a", "b"}]
    emptied = {file: evolve(image, snapshots=()) for file, image in bases.items()}
    (gone,) = holdings((manifest,), overlaid, below=emptied)
    assert (gone.standing, len(gone.missing)) == ("incomplete", 2)


def test_a_record_without_any_part_left_is_listed():
    """Nothing on the disks, and a manifest: incomplete, not silent."""
    (lost,) = holdings((recorded(WHOLE),), two_disks())
    assert (lost.standing, len(lost.missing)) == ("incomplete", 2)


def test_an_error_says_what_why_and_in_what_state_the_vm_is():
    """In words, and as plain values with the same codes."""
    error = BadInput(
        "it is wrong", problems=(Problem("key-twice", "tag", "the key stands twice", "drop one"),)
    )
    assert error_text(error).splitlines() == [
        "snapplan: it is wrong [bad-input]",
        "  - [key-twice] tag: the key stands twice (drop one)",
        "  The VM was not touched.",
    ]
    plain = error_to_plain(error)["error"]
    assert plain["exit-code"] == 2
    assert plain["problems"][0]["code"] == "key-twice"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (3 << 29, "1.5 GiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_bytes_have_binary_units(count, text):
    """The largest unit that leaves at least one, TiB at most."""
    assert bytes_text(count) == text


def test_a_table_is_aligned_and_not_padded_at_the_end():
    """Columns line up; the last is as long as it likes."""
    assert table([("a", "b", "c"), ("aaa", "b", "")]) == "a    b  c\naaa  b"
    assert table([]) == ""


def test_a_draft_has_a_tag_and_paths_that_are_free():
    """What is there is not written over, and a tag that a disk holds or a manifest has is not taken."""
    vm = facts(qcow2("disk0", snapshots=(held("t"),)), raw("vars0"))
    assert free_tag(vm, "a") == "a"
    assert free_tag(vm, "t", ["t-2"]) == "t-3"
    drafted = draft_of(vm, "t-3", lambda path: path.endswith("vars0.t-3.qcow2"))
    (overlay,) = (each.wish.path for each in drafted.disks if each.name == "vars0")
    assert overlay.endswith("vars0.t-3-2.qcow2")


def test_a_draft_says_of_a_read_only_disk_that_nothing_is_lost():
    """Firmware: its format is not why it is left out, since another raw disk gets an overlay."""
    vm = facts(raw("code0", read_only=True), raw("vars0"))
    code, variables = draft_of(vm, "t").disks
    assert (code.wish, code.why) == (Exclude(), "read-only: the guest cannot change it")
    assert variables.wish.path == "/vm/vars0.t.qcow2"


def test_a_draft_of_a_disk_without_a_folder_goes_where_its_reader_is():
    """A VM on a host's device alone has no folder of its own."""
    vm = facts(evolve(raw("disk0"), filename="/dev/vg/root"))
    drafted = draft_of(vm, "t", folder="/srv/here")
    assert drafted.disks[0].wish.path == "/srv/here/disk0.t.qcow2"
    assert drafted.machine_state.path == "/srv/here/t.state"
    compile_request(read_request(draft_request(vm, "t", drafted)), vm)


def test_an_error_of_one_cause_says_it_once():
    problem = Problem("manifest-unknown", "nosuch", "no manifest has this tag", "choose one of: a")
    assert error_text(BadInput.of(problem)).splitlines() == [
        "snapplan: nosuch: no manifest has this tag [manifest-unknown]",
        "  What to do: choose one of: a",
        "  The VM was not touched.",
    ]


WIDE = [("NAME", "WORDS"), ("日本", "a " + "long " * 40 + "sentence"), ("disk0", "short")]


def test_wide_characters_take_two_columns():
    """What stands in the second column begins where its heading begins, as a terminal shows it."""
    heading, wide, narrow = table(WIDE).splitlines()
    assert heading.index("WORDS") == narrow.index("short") == 7
    assert wide.startswith("日本   a long")  # four columns, and three spaces


@pytest.mark.parametrize("width", [60, 100])
def test_on_a_terminal_the_last_column_is_wrapped_below_itself(width):
    """No line is longer than the terminal is wide, and nothing is lost."""
    with wrapped_at(width):
        lines = table(WIDE, "  ").splitlines()
    assert len(lines) > len(WIDE)
    assert all(len(line) <= width for line in lines)
    assert " ".join(" ".join(lines).split()) == " ".join(cell for row in WIDE for cell in row)
    assert table(WIDE, "  ").count("\n") == len(WIDE) - 1  # and elsewhere a row is a line


def test_a_terminal_that_is_too_narrow_wraps_by_itself():
    """Nothing is cut off."""
    outside = table(WIDE)
    with wrapped_at(12):
        assert table(WIDE) == outside
