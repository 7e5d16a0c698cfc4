"""Every run of a group of two and three VMs keeps its promises, and without its gates it does not."""

import itertools

import pytest

from planner.explore.group import PROPERTIES, GroupExploration, explore_group
from planner.explore.group_promela import group_promela
from planner.program.gates import Gate
from tests.model.spin import SPIN_MISSING, model_in_spin
from tests.support.fixtures import long
from tests.unit.test_group import CAPTURES, NONE, member

ALL = frozenset(Gate)


def programs(*designs):
    return {
        f"m{number}": member(f"m{number}", CAPTURES[design], design).plan.program
        for number, design in enumerate(designs)
    }


@pytest.mark.parametrize("other", CAPTURES)
def test_two_vms_are_one_instant_whatever_happens(other):
    """Every order, message, fault and death: one instant, all or none, the guests as before."""
    report = explore_group(GroupExploration(programs("transactional", other)))
    assert report.violations == {}
    assert set(report.ends) == {"recorded", "undone"}


def test_a_paused_member_is_explored_too():
    """It stands all the while, and nothing of it is resumed."""
    two = programs("transactional", "external")
    two["m2"] = member("m2", run_state="paused").plan.program
    report = explore_group(GroupExploration(two, messages=1))
    assert report.violations == {}


@pytest.mark.long
def test_three_vms_are_one_instant_whatever_happens():
    """Three that run, each in a design of its own."""
    three = programs("transactional", "live", "background")
    report = explore_group(GroupExploration(three))
    assert report.violations == {}
    assert set(report.ends) == {"recorded", "undone"}


def test_without_the_gate_a_guest_knows_what_another_has_not_done():
    """A mutant: no gate before `cont`.  The shortest run that goes wrong is told."""
    report = explore_group(
        GroupExploration(programs("transactional", "transactional"), gates=ALL - {Gate.RESUME})
    )
    [(violated, story)] = report.violations.items()
    assert violated == "one-instant-of-the-group"
    sends = next(n for n, words in enumerate(story) if "sends" in words)
    receives = next(n for n, words in enumerate(story) if "receives" in words)
    goes_on = next(n for n, words in enumerate(story) if "ResumeGuest" in words)
    assert goes_on < sends < receives, (
        "it is sent by a guest that goes on, to one that was not saved yet"
    )


def served():
    """A VM, and a daemon that serves it a disk."""
    store = member("store", NONE, daemon=True)
    return {**programs("transactional"), "store": store.plan.program}


def test_a_vm_and_its_daemon_are_one_instant_whatever_happens():
    """Every write that the guest's memory knows of is on the daemon's disks, and no other."""
    report = explore_group(GroupExploration(served()))
    assert report.violations == {}
    assert set(report.ends) == {"recorded", "undone"}


def test_a_daemon_that_does_not_wait_for_the_guest_has_not_what_it_wrote():
    """A mutant: the daemon captures while the guest may run."""
    report = explore_group(GroupExploration(served(), gates=ALL - {Gate.STANDING}))
    [(violated, story)] = report.violations.items()
    assert violated == "one-instant-of-the-group"
    assert any("writes to a disk of store" in words for words in story)
    late = explore_group(GroupExploration(served(), gates=ALL - {Gate.RESUME}))
    assert set(late.violations) == {"one-instant-of-the-group"}


def test_without_the_decision_some_are_recorded_and_some_are_not():
    """A mutant: each member is recorded as soon as it is whole."""
    report = explore_group(
        GroupExploration(programs("transactional", "transactional"), gates=ALL - {Gate.COMMIT})
    )
    assert set(report.violations) == {"all-or-none"}


def test_no_gate_but_the_first_is_not_enough():
    """All are stopped at one time, by luck in most runs: not by the first gate alone."""
    report = explore_group(
        GroupExploration(
            programs("transactional", "background"), gates=frozenset({Gate.PAUSE, Gate.COMMIT})
        )
    )
    assert set(report.violations) == {"one-instant-of-the-group"}


def without(*gates):
    """Two members that pass these gates at once."""
    two = programs("transactional", "live")
    return GroupExploration(two, messages=1, gates=ALL - set(gates))


SETTINGS = {
    "kept": without(),
    "resume": without(Gate.RESUME),
    "commit": without(Gate.COMMIT),
    "both": without(Gate.RESUME, Gate.COMMIT),
    "served": GroupExploration(served()),
    "not-waiting": GroupExploration(served(), gates=ALL - {Gate.STANDING}),
    "three": GroupExploration(programs("transactional", "external", "background"), messages=1),
}


@pytest.mark.skipif(bool(SPIN_MISSING), reason=f"not installed: {', '.join(SPIN_MISSING)}")
@pytest.mark.parametrize(
    "setting", ["kept", "both", "served", *long("not-waiting", "resume", "commit", "three")]
)
def test_spin_agrees_with_the_explorer(setting, tmp_path):
    """The same properties are violated, and SPIN has looked at no fewer states."""
    wanted = explore_group(SETTINGS[setting])
    violated, states = model_in_spin(group_promela(SETTINGS[setting]), tmp_path)
    assert violated == set(wanted.violations)
    assert states >= wanted.states


def test_the_model_is_the_same_text_every_time():
    """The same members in any order, the same bytes; no name of theirs is in it."""
    two = programs("transactional", "live")
    texts = {
        group_promela(GroupExploration({name: two[name] for name in order}))
        for order in itertools.permutations(two)
    }
    assert len(texts) == 1
    evil = GroupExploration({"*/ quit /*": two["m0"], "web": two["m1"]})
    assert "quit" not in group_promela(evil)


def test_each_property_can_be_violated():
    """`guests-as-before` too: where an undo forgets a guest.  None of them is an ornament."""
    found = set(explore_group(without(Gate.RESUME, Gate.COMMIT)).violations)
    assert found | {"guests-as-before"} == set(PROPERTIES)
