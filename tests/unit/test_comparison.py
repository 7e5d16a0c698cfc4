"""A comparison says of each design what its program really does, and what faults really leave."""

from pathlib import Path

import pytest
from attrs import evolve

from planner.compare.comparison import PROPERTIES, compare_designs, design_names
from planner.compare.rehearsal import StepFault, faults_of, rehearse
from planner.compile.designs import DESIGNS
from planner.compile.plan import compile_request
from planner.errors import BadInput, Refused
from planner.model.facts import SnapshotInfo
from planner.model.facts_text import read_facts
from planner.model.request_text import read_request
from planner.present.compare_plain import comparison_to_plain
from planner.present.compare_view import comparison_text
from planner.present.timeline import timeline_svg
from planner.run.phases import Phase

EXAMPLES = Path("specs/examples")
ALL = tuple(design.name for design in DESIGNS)
INTERNAL = ("monolithic", "transactional")
NAMES = ["one-disk", "uefi-guest", "drive-only", "twenty-disks"]


def example(name):
    facts = read_facts((EXAMPLES / f"{name}.facts.json").read_text(), name)
    return read_request((EXAMPLES / f"{name}.yaml").read_text()), facts


def compared(name, *designs, **more):
    return {r.design: r for r in compare_designs(*example(name), designs or INTERNAL, **more)}


@pytest.mark.parametrize("design", INTERNAL)
@pytest.mark.parametrize("name", NAMES)
def test_a_rehearsal_ends_with_the_snapshot_complete(name, design):
    """The executor, told the semantics' answers, finds every part and is done."""
    read, facts = example(name)
    program = compile_request(read, facts, design).program
    done = rehearse(program, facts)
    assert done.outcome.phase is Phase.DONE
    assert [part.disk for part in done.outcome.parts] == [
        p.disk for p in program.resolution.internal
    ]
    sent = [span.command for span in done.spans]
    assert [c for c in sent if c in {s.execute for s in program.steps}] == [
        step.execute for step in program.steps
    ]


@pytest.mark.parametrize("fault", [StepFault.FAILS, StepFault.LOST])
@pytest.mark.parametrize("design", INTERNAL)
def test_a_fault_at_any_step_ends_undone_and_says_what_was_undone(design, fault):
    """A step that fails, or is lost after it worked, ends undone; a lost capture is deleted."""
    read, facts = example("uefi-guest")
    program = compile_request(read, facts, design).program
    for number, step in enumerate(program.steps, start=1):
        outcome = rehearse(program, facts, number, fault).outcome
        assert (outcome.phase, outcome.left) == (Phase.UNDONE, ())
        if fault is StepFault.LOST and step.execute in ("snapshot-save", "transaction"):
            assert any("deleted snapshot" in words for words in outcome.undone)


def mixed(capture):
    room = EXAMPLES / "explore"
    facts = read_facts((room / "mixed.facts.json").read_text(), "mixed")
    return read_request((room / f"mixed-{capture}.yaml").read_text()), facts


EXTERNAL = {"external": "stopped", "live": "live", "background": "background"}


@pytest.mark.parametrize("design", EXTERNAL)
def test_a_fault_at_any_step_of_external_parts_leaves_no_file_and_no_overlay(design):
    """Steps on the host too: what fails, is lost or is never answered ends undone, to the last file."""
    read, facts = mixed(EXTERNAL[design])
    program = compile_request(read, facts, design).program
    struck = set()
    for number, step in enumerate(program.steps, start=1):
        for fault in faults_of(step):
            done = rehearse(program, facts, number, fault)
            assert (done.outcome.phase, done.outcome.left) == (Phase.UNDONE, ()), (number, fault)
            assert done.files == (), (number, fault)
            struck.add((step.execute, fault))
    assert {("create-overlay", StepFault.SILENT), ("keep-stream", StepFault.FAILS)} <= struck


@pytest.mark.parametrize("design", EXTERNAL)
def test_a_rehearsal_of_external_parts_leaves_the_files_that_were_asked_for(design):
    """The stream under its own name and the overlay, and no temporary one."""
    read, facts = mixed(EXTERNAL[design])
    program = compile_request(read, facts, design).program
    done = rehearse(program, facts)
    wanted = [program.resolution.stream.path, *(o.path for o in program.resolution.overlays)]
    assert (done.outcome.phase, list(done.files)) == (Phase.DONE, sorted(wanted))


@pytest.mark.parametrize("capture", EXTERNAL.values())
def test_one_request_is_compared_in_every_design_that_its_disks_allow(capture):
    """The machine state is put where each design can put it, and what was changed is said."""
    read, facts = mixed(capture)
    reports = {r.design: r for r in compare_designs(read, facts, ALL)}
    assert [name for name, report in reports.items() if report.problems] == ["monolithic"]
    own = reports["vmstate-node"]
    assert own.machine_state == "an image of its own"
    assert own.adapted
    assert {fault.end for fault in own.faults} == {"undone"}
    for design, its_capture in EXTERNAL.items():
        report = reports[design]
        assert report.machine_state == f"external, {its_capture}"
        assert bool(report.adapted) is (its_capture != capture)
        assert {fault.end for fault in report.faults} == {"undone"}
        assert report.proved == PROPERTIES
    assert reports["transactional"].machine_state == "internal, disk0"
    assert "instead of" in reports["transactional"].adapted[0]


def test_a_copy_is_a_snapshot_in_the_image_where_a_design_makes_no_copies():
    """Beside `snapshot-save`, and said; a disk whose image holds no snapshot stays a copy there."""
    _, facts = mixed("stopped")
    text = (
        "tag: t\nmachine-state: {internal: disk0}\n"
        "disks: {disk0: internal, disk1: {copy: /c1}, vars0: exclude}\n"
    )
    reports = {r.design: r for r in compare_designs(read_request(text), facts, ALL)}
    assert not any(report.problems for report in reports.values())
    note = "disk1 is internal, instead of a copy in /c1"
    assert {name for name, r in reports.items() if note in r.adapted} == {
        "monolithic",
        "external",
        "live",
    }
    raw = read_request(text.replace("vars0: exclude", "vars0: {copy: /c2}"))
    reports = {r.design: r for r in compare_designs(raw, facts, ("monolithic", "transactional"))}
    assert [r.design for r in reports.values() if r.problems] == ["monolithic"]


def test_internal_machine_state_is_compared_in_a_made_up_file_too():
    """Beside the first disk's image; what this QEMU cannot capture is refused with the reason."""
    read, facts = example("uefi-guest")
    reports = {r.design: r for r in compare_designs(read, facts, ALL)}
    assert reports["monolithic"].adapted == reports["transactional"].adapted == ()
    for design in ("external", "live"):
        stream = reports[design].program.resolution.stream
        assert stream.path == f"/srv/vm/snapplan-compare-{design}.state"
    assert [problem.code for problem in reports["background"].problems] == ["background-unsafe"]
    assert "(adapted)" in comparison_text(tuple(reports.values()))


def test_each_qemu_version_is_asked_for_itself():
    """A stream on 7.2 goes another way than on 10.0, and a background one not at all."""
    read, facts = mixed("background")
    versions = {
        r.design: [v.version for v in r.versions if not v.problems]
        for r in compare_designs(read, facts, ("live", "background"))
    }
    assert versions == {"live": ["7.2", "10.0", "11.1"], "background": ["10.0", "11.1"]}


def test_options_of_a_live_capture_are_left_out_of_the_others_and_that_is_said():
    """auto-converge means something for a live capture only."""
    read, facts = mixed("live")
    state = evolve(read.request.machine_state, auto_converge=True)
    read = evolve(read, request=evolve(read.request, machine_state=state))
    (report,) = compare_designs(read, facts, ("external",))
    assert report.problems == ()
    assert any("auto-converge" in note for note in report.adapted)


def test_without_an_internal_disk_nothing_can_hold_the_machine_state_inside():
    """The request is not adapted then, and the design says why it cannot."""
    _, facts = mixed("live")
    text = (
        "tag: t\nmachine-state: {external: /srv/vm/t.state, capture: live}\n"
        "disks: {disk0: exclude, disk1: exclude, vars0: exclude}\n"
    )
    (report,) = compare_designs(read_request(text), facts, ("transactional",))
    assert (report.adapted, report.problems[0].code) == ((), "design-cannot")
    (others,) = compare_designs(
        read_request(text.replace("disk1: exclude, ", "") + "others: internal\n"),
        facts,
        ("transactional",),
    )
    assert others.machine_state == "internal, disk1"


def test_the_counts_are_those_of_the_executor():
    """One job: one command, nothing sent in the pause; small commands: all of it in the pause."""
    reports = compared("uefi-guest")
    assert [len(reports[name].program.steps) for name in INTERNAL] == [1, 4]
    assert [reports[name].sent_in_pause for name in INTERNAL] == [0, 5]
    assert [len(reports[name].rehearsal.spans) for name in INTERNAL] == [6, 11]
    assert [len(reports[name].round_trips) for name in INTERNAL] == [4, 7]
    assert reports["transactional"].round_trips[0] == ("stop", "query-status")
    for report in reports.values():
        assert report.proved == PROPERTIES
        assert {str(version.version) for version in report.versions} == {"7.2", "10.0", "11.1"}
        assert not any(version.problems for version in report.versions)
        assert set(report.inside_pause) == {
            "WriteVmstate(disk0)", "SnapshotDisk(disk0)", "DiscardVmstate(disk0)",
            "SnapshotDisk(disk1)",
        }  # fmt: skip


def test_a_prediction_grows_with_the_memory_and_says_when_that_is_unknown():
    """Without the memory's size only the rest is predicted."""
    assert compared("one-disk")["monolithic"].prediction.machine_state_ms is None
    small = compared("one-disk", memory_bytes=2**20)["monolithic"].prediction
    large = compared("one-disk", memory_bytes=2**30)["monolithic"].prediction
    assert 0 < small.machine_state_ms < large.machine_state_ms


def test_what_a_design_cannot_is_said_and_the_others_are_compared():
    """Disks only: snapshot-save cannot, the transaction pauses nothing."""
    _, facts = example("uefi-guest")
    text = (
        "tag: t\nmachine-state: none\ndisks: {disk0: internal, disk1: internal, vars0: exclude}\n"
    )
    one, two = compare_designs(read_request(text), facts, INTERNAL)
    assert [problem.code for problem in one.problems] == ["design-cannot"]
    assert one.program is None
    assert (two.problems, two.prediction, two.inside_pause, two.sent_in_pause) == ((), None, (), 0)
    assert "not possible" in comparison_text((one, two))


def test_a_qemu_that_lacks_a_command_is_named():
    """The schema of the VM decides for this VM, those of the known QEMUs for the versions."""
    read, facts = example("one-disk")
    schema = tuple(entry for entry in facts.schema if entry["name"] != "snapshot-save")
    (report,) = compare_designs(read, evolve(facts, schema=schema), ("monolithic",))
    assert "command-lacking" in {problem.code for problem in report.problems}
    assert not any(version.problems for version in report.versions)


def test_a_request_that_nothing_can_do_is_refused_as_a_whole():
    """A taken tag is no matter of designs."""
    read, facts = example("one-disk")
    (disk,) = facts.disks
    taken = evolve(facts, disks=(evolve(disk, snapshots=(SnapshotInfo("1", read.request.tag),)),))
    with pytest.raises(Refused):
        compare_designs(read, taken, INTERNAL)
    with pytest.raises(BadInput):
        compare_designs(read, facts, ("nonsense",))


def test_a_paused_vm_stands_still_without_us():
    """Where the VM is paused before and after, no pause is predicted and none is counted."""
    read, facts = example("uefi-guest")
    for report in compare_designs(read, evolve(facts, run_state="paused"), INTERNAL):
        assert (report.prediction, report.sent_in_pause) == (None, 0)
        assert report.rehearsal.outcome.phase is Phase.DONE


def test_designs_are_named_once_each_in_the_order_given():
    """An empty list means all of them."""
    assert design_names("transactional, monolithic,transactional") == (
        "transactional",
        "monolithic",
    )
    assert design_names("") == ALL


@pytest.mark.parametrize("name", NAMES)
def test_the_same_request_gives_the_same_bytes(name):
    """Text, JSON and picture depend on request and facts only."""
    once, again = (tuple(compared(name).values()) for _ in range(2))
    for view in (comparison_text, comparison_to_plain, timeline_svg):
        assert view(once) == view(again)


def test_the_picture_has_a_band_for_each_design_and_a_bar_for_each_command():
    """Every command that is sent is in it, and the pause."""
    reports = tuple(compared("uefi-guest").values())
    svg = timeline_svg(reports)
    assert svg.count('aria-label="paused"') == len(reports)
    for report in reports:
        assert report.design in svg
        for span in report.rehearsal.spans:
            assert f">{span.command}</text>" in svg
