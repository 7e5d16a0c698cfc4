"""What a run left in a VM is seen by comparing the VM with itself."""

from pathlib import Path

import pytest
from attrs import evolve

from planner.compile.plan import compile_request
from planner.errors import InternalError
from planner.model.facts import ChainNode, SnapshotInfo
from planner.model.facts_text import read_facts
from planner.model.request_text import read_request
from planner.run.leftovers import differences, files_of
from planner.run.observation import baseline_of
from planner.save.save_machine import SaveMachine

ROOM = Path("specs/examples/explore")
FACTS = read_facts((ROOM / "mixed.facts.json").read_text(), "mixed")


def with_first(**changes):
    first, *others = FACTS.disks
    return evolve(FACTS, disks=(evolve(first, **changes), *others))


def test_a_vm_differs_in_nothing_from_itself():
    """Nothing is reported where nothing is left."""
    assert list(differences(FACTS, FACTS)) == []


@pytest.mark.parametrize(
    ("after", "code"),
    [
        (with_first(snapshots=(SnapshotInfo("1", "t"),)), "part-left"),
        (with_first(filename="/srv/vm/overlay.qcow2"), "overlay-left"),
        (with_first(backing=(ChainNode("below", "qcow2", "/srv/vm/x"),)), "overlay-left"),
        (evolve(FACTS, run_state="paused"), "run-state-changed"),
        (evolve(FACTS, capabilities={**FACTS.capabilities, "events": True}), "settings-left"),
        (evolve(FACTS, parameters={**FACTS.parameters, "max-bandwidth": 1}), "settings-left"),
    ],
)
def test_each_thing_that_is_left_is_named(after, code):
    """A part, an overlay, the run state, a capability, a limit."""
    assert {problem.code for problem in differences(FACTS, after)} == {code}


def test_a_node_that_was_not_there_is_named():
    """An overlay's node that hangs on no disk."""
    fewer = evolve(FACTS, disks=FACTS.disks[1:])
    (problem,) = differences(fewer, FACTS)
    assert (problem.code, problem.subject) == ("overlay-left", FACTS.disks[0].name)


def test_the_files_of_a_program_are_its_own_and_their_temporary_ones():
    """Two names for the overlay, two for the stream."""
    program = program_of()
    assert files_of(program) == (
        "/srv/vm/vars.before-upgrade.qcow2",
        "/srv/vm/.vars.before-upgrade.qcow2.snapplan",
        "/srv/vm/before-upgrade.state",
        "/srv/vm/.before-upgrade.state.snapplan",
    )


def program_of():
    read = read_request((ROOM / "mixed-live.yaml").read_text())
    return compile_request(read, FACTS, "live").program


def test_what_never_began_cannot_be_taken_back():
    """There is nothing to undo, and nothing is sent."""
    with pytest.raises(InternalError):
        SaveMachine.of(program_of(), baseline_of(FACTS)).take_back()
