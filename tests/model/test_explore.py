"""What the explorer says of the designs, and that it says the same whatever it leaves out."""

from functools import cache
from pathlib import Path

import pytest
from attrs import evolve

from planner.compile.plan import compile_request
from planner.explore.design_text import read_design
from planner.explore.instruction import OnFailure
from planner.explore.laying import instructions_for
from planner.explore.moves import Reductions
from planner.explore.properties import PROPERTY_IDS
from planner.explore.rules_say import rules_say
from planner.explore.search import Search, explore
from planner.explore.setting_of import instructions_of, setting_of
from planner.explore.story import tell
from planner.model.facts import SnapshotInfo
from planner.model.facts_text import read_facts
from planner.model.request_text import read_request
from planner.semantics import execute, vm_state
from planner.verbs.design_files import find_design
from tests.model.exploring import (
    DESIGNS,
    EXTERNAL_DESIGNS,
    FAULTS,
    case,
    explored,
    facts_of,
    resolution_of,
    setting_for,
)


def verdict(report):
    return [(found.property_id, len(found.moves)) for found in report.violations]


# --- verdicts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("key", FAULTS)
def test_verdict_in_each_design_file_is_what_the_explorer_finds(design, key):
    """The files say what is found on two disks, for every set of faults."""
    report = explored(design, disks=2, **FAULTS[key])
    assert report.finished
    assert find_design(design).verdict[key] == report.violated


@pytest.mark.parametrize("design", DESIGNS)
def test_verdict_does_not_depend_on_how_many_disks_there_are(design):
    """One to three disks, one fault: the same properties hold, but for what needs two disks."""
    found = [set(explored(design, faults=1, disks=disks).violated) for disks in (1, 2, 3)]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("design", ["monolithic", "transactional"])
def test_design_files_of_today_are_the_compiled_designs(design):
    """What the files say of the two designs is what the compiler emits, replacing included."""
    for snapshots, more in (((), ""), ((_tagged(),), "existing-tag: replace")):
        facts = facts_of(3, snapshots=snapshots)
        resolution = resolution_of(facts, more=more)
        text = (
            "tag: new\nmachine-state: {internal: disk0}\ndisks: {disk0: internal}\nothers: internal\n"
            + more
        )
        program = compile_request(read_request(text), facts, design).program
        compiled = setting_of(resolution, instructions_of(program), design, facts, faults=1)
        assert setting_for(design, facts=facts, resolution=resolution, faults=1) == compiled


@pytest.mark.parametrize(
    ("capture", "design"), [("stopped", "external"), ("live", "live"), ("background", "background")]
)
def test_design_files_with_external_parts_are_the_compiled_designs(capture, design):
    """On recorded facts: the same commands, operations, promises and effects, in the same order.

    How QEMU is handed a file (by path or by descriptor) is no part of a design.
    """
    room = Path("specs/examples/explore")
    facts = read_facts((room / "mixed.facts.json").read_text())
    text = (room / f"mixed-{capture}.yaml").read_text()
    for wanted in (text, text.replace("disk1: internal", "disk1: {external: /srv/vm/d1}")):
        program = compile_request(read_request(wanted), facts, design).program
        told = instructions_for(find_design(design), program.resolution)
        handing = ("add-fd", "remove-fd")
        assert told == tuple(i for i in instructions_of(program) if i.name not in handing)


def _tagged():
    return SnapshotInfo("1", "new", vm_clock_ns=5, vm_state_size_bytes=99, date_ns=5)


@pytest.mark.parametrize("design", ["monolithic", "transactional", "savevm"])
def test_replacing_gives_up_the_old_snapshot_and_nothing_else(design):
    """With `existing-tag: replace` no fault harms what the request does not give up."""
    kept = SnapshotInfo("2", "kept", vm_clock_ns=6, vm_state_size_bytes=0, date_ns=6)
    facts = facts_of(2, snapshots=(_tagged(), kept))
    resolution = resolution_of(facts, more="existing-tag: replace")
    report = explored(design, facts=facts, resolution=resolution, faults=1)
    assert set(report.violated) <= {"no-vmstate-left"}


@pytest.mark.parametrize("run_state", ["running", "paused"])
@pytest.mark.parametrize("after", ["as-before", "running", "paused"])
@pytest.mark.parametrize("machine_state", ["{internal: disk0}", "none"])
def test_transactional_holds_for_every_request(run_state, after, machine_state):
    """Without machine state, from a paused VM, into another run state: no fault spoils anything."""
    facts = facts_of(2, run_state=run_state)
    more = f"run-state-after: {after}"
    resolution = resolution_of(facts, machine_state=machine_state, more=more)
    report = explored("transactional", facts=facts, resolution=resolution, faults=1)
    left = {"no-vmstate-left"} if machine_state != "none" else set()
    assert set(report.violated) == left


OVERLAYS_AT_ONCE = """\
design: at-once
instructions:
  - {name: add, does: {any-order: [AddOverlay]}}
  - name: transaction
    does: {any-order: [SwitchToOverlay, SnapshotDisk]}
    atomic: true
    on-failure: nothing
"""


@pytest.mark.parametrize("faults", [0, 1, 2])
def test_alike_overlays_are_taken_for_one_and_nothing_changes(faults):
    """Two overlays that are added and put on in no promised order: fewer states, the same verdicts."""
    facts = facts_of(3)
    resolution = resolution_of(facts, machine_state="none", overlays=2)
    instructions = instructions_for(read_design(OVERLAYS_AT_ONCE), resolution)
    setting = setting_of(resolution, instructions, "at-once", facts, faults=faults)
    reduced, full = explore(setting), explore(setting, Reductions.none())
    assert verdict(reduced) == verdict(full)
    assert reduced.states < explore(setting, Reductions(symmetry=False)).states <= full.states
    undo = setting.undo - {"commit-overlays", "remove-files"}
    wrong = evolve(setting, undo=undo)
    assert verdict(explore(wrong)) == verdict(explore(wrong, Reductions.none()))


@pytest.mark.parametrize("overlays", [0, 2])
def test_disk_only_snapshot_is_one_cut_because_the_transaction_drains_its_disks(overlays):
    """The guest runs and writes all the while; without the draining, the disks would be torn."""
    facts = facts_of(3)
    resolution = resolution_of(facts, machine_state="none", overlays=overlays)
    setting = setting_for("transactional", facts=facts, resolution=resolution)
    assert explore(setting, Reductions.none()).violated == ()
    assert explore(evolve(setting, faults=1)).violated == ()

    torn = evolve(
        setting,
        instructions=tuple(
            evolve(i, atomic=False, on_failure=OnFailure.WHAT_WAS_DONE)
            for i in setting.instructions
        ),
    )
    assert "one-instant" in explore(torn, Reductions.none()).violated


@pytest.mark.parametrize("design", DESIGNS)
def test_rules_and_search_agree(design):
    """Where the ordering rules find nothing, no unstruck run goes wrong, and the other way round.

    The rules know no vmstate that goes into the snapshot directly, so post-copy is the exception:
    the rules are against it, and the search finds nothing.
    """
    setting = setting_for(design, disks=2)
    legal = rules_say(setting.instructions, case(design)["resolution"]) == ()
    holds = explore(setting).violated == ()
    assert legal is holds or design == "post-copy"


def test_naive_transaction_goes_wrong_both_ways():
    """The disk is snapshotted before its vmstate is written; and the vmstate is discarded first."""
    setting = setting_for("naive-transaction", disks=1)
    search = Search(setting, Reductions.none())
    list(search.run())
    found = {v.property_id: v for v in search.report().violations}
    assert {"holds-machine-state", "loadable"} <= set(found)
    story = [line.brief for line in tell(setting, search.moves.layers, found["loadable"].moves)]
    order = [word for word in story if word in ("snapshot", "write vmstate", "discard vmstate")]
    assert order != ["write vmstate", "snapshot", "discard vmstate"]
    assert _ends_wrong(setting, ["SnapshotDisk", "WriteVmstate", "DiscardVmstate"])
    assert _ends_wrong(setting, ["WriteVmstate", "DiscardVmstate", "SnapshotDisk"])
    assert not _ends_wrong(setting, ["WriteVmstate", "SnapshotDisk", "DiscardVmstate"])


def _ends_wrong(setting, order):
    instructions = []
    for instruction in setting.instructions:
        kinds = [operation.kind.value for operation in instruction.operations]
        if instruction.name == "transaction":
            before = [
                sum(1 << m for m, other in enumerate(kinds) if order.index(other) < order.index(k))
                for k in kinds
            ]
            instructions.append(evolve(instruction, before=tuple(before)))
        else:
            instructions.append(instruction)
    report = explore(evolve(setting, instructions=tuple(instructions)))
    return "holds-machine-state" in report.violated


# --- the semantics ------------------------------------------------------------------------------


@pytest.mark.parametrize("design", ["monolithic", "transactional"])
def test_unstruck_run_leaves_what_the_semantics_leave(design):
    """The images after the explorer's run are those that the commands leave on the semantics."""
    facts = facts_of(3)
    resolution = resolution_of(facts)
    text = (
        "tag: new\nmachine-state: {internal: disk0}\ndisks: {disk0: internal}\nothers: internal\n"
    )
    program = compile_request(read_request(text), facts, design).program
    state = vm_state("7.2", ["disk0", "disk1", "disk2"])
    for step in program.steps:
        state = execute(state, step.execute, step.arguments).state
    setting = setting_for(design, facts=facts, resolution=resolution)
    search = Search(setting)
    list(search.run())
    last = search.report().example[-1].after
    for number, name in enumerate(setting.disks):
        ours, theirs = search.moves.layers[last.layers[number]], state.graph.node(name).layer
        assert (ours.vmstate is None) == (theirs.vmstate is None)
        assert [_essence(s) for s in ours.snapshots] == [_essence(s) for s in theirs.snapshots]
    assert last.running is state.running


def _essence(snapshot):
    return snapshot.id, snapshot.vmstate is not None, snapshot.vm_state_size_bytes > 0


# --- reductions ---------------------------------------------------------------------------------


REDUCTIONS = ["symmetry", "forgetting", "partial_order", "hashed", "eager_guest"]


SLOW = ("background-untracked", "copies-grouped")
"""On three disks without any reduction; on two the next test always has them."""


@pytest.mark.parametrize(
    "design", [pytest.param(d, marks=pytest.mark.long) if d in SLOW else d for d in DESIGNS]
)
def test_all_reductions_change_no_verdict_and_no_shortest_counterexample(design):
    """On all small cases: every design, one to three disks, every set of faults."""
    compare_without(Reductions.none(), design, (1, 2, 3), FAULTS.values())


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("off", REDUCTIONS)
def test_no_reduction_changes_a_verdict_or_a_shortest_counterexample(design, off):
    """Each alone, on one and two disks; the client's death is left to all of them at once."""
    several = [more for more in FAULTS.values() if "client_death" not in more]
    compare_without(Reductions(**{off: False}), design, (1, 2), several)


@pytest.mark.long
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("off", REDUCTIONS)
def test_no_reduction_changes_a_verdict_on_three_disks(design, off):
    """Each alone."""
    several = [more for more in FAULTS.values() if "client_death" not in more]
    compare_without(Reductions(**{off: False}), design, (3,), several)


@cache
def _reduced(design, disks, more):
    return explored(design, disks, **dict(more))


def compare_without(fewer, design, disks, several):
    """Search with and without the reductions, for each number of disks and set of faults."""
    for count in disks:
        for more in several:
            if count == 3 and (len(more) > 1 or more["faults"] == 2):
                continue  # `script/campaign` does these
            reduced = _reduced(design, count, tuple(more.items()))
            full = explored(design, count, reductions=fewer, **more)
            assert verdict(reduced) == verdict(full)
            assert reduced.states <= full.states


def test_reductions_keep_twelve_disks_small():
    """An unordered transaction of twelve disks grows with their number, not with its power."""
    for design in ("monolithic", "transactional", *sorted(EXTERNAL_DESIGNS)):
        report = explored(design, faults=1, disks=12)
        assert report.finished
        assert report.states < 5000


def test_search_says_the_same_every_time_and_under_every_bound():
    """Two searches give one report; a bound gives a prefix of it."""
    setting = setting_for("naive-transaction", faults=1, disks=2)
    whole = explore(setting)
    assert verdict(whole) == verdict(explore(setting))
    for bound in (3, 7, 13):
        short = explore(setting, bound=bound)
        assert not short.finished
        assert short.stopped == "bound"
        assert short.depth == bound
        assert verdict(short) == [found for found in verdict(whole) if found[1] <= bound]


def test_stopped_search_tells_what_it_knows():
    """A search that is not gone on with says that it is not finished."""
    search = Search(setting_for("transactional", faults=1, disks=2))
    next(search.run())
    report = search.report()
    assert not report.finished
    assert report.stopped == "interrupted"


@pytest.mark.parametrize("design", DESIGNS)
def test_every_counterexample_is_a_run_that_can_be_told(design):
    """Each move follows from the one before, and the story has a line for each."""
    setting = setting_for(design, faults=2, other_clients=True, disks=2)
    search = Search(setting)
    list(search.run())
    for found in search.report().violations:
        assert found.property_id in PROPERTY_IDS
        assert found.why
        for one, other in zip(found.moves, found.moves[1:], strict=False):
            assert one.after == other.before
        assert len(tell(setting, search.moves.layers, found.moves)) == len(found.moves)
