"""Every run of a group of two and three VMs keeps its promises, and without its gates it does not."""

import pytest

from planner.explore.group import GroupExploration, explore_group
from planner.program.gates import Gate
from tests.unit.test_group import CAPTURES, member

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
    assert (report.violation, report.story) == ("", ())
    assert set(report.ends) == {"recorded", "undone"}


def test_a_paused_member_is_explored_too():
    """It stands all the while, and nothing of it is resumed."""
    two = programs("transactional", "external")
    two["m2"] = member("m2", run_state="paused").plan.program
    report = explore_group(GroupExploration(two, messages=1))
    assert report.violation == ""


@pytest.mark.long
def test_three_vms_are_one_instant_whatever_happens():
    """Three that run, each in a design of its own."""
    three = programs("transactional", "live", "background")
    report = explore_group(GroupExploration(three))
    assert (report.violation, report.story) == ("", ())
    assert set(report.ends) == {"recorded", "undone"}


def test_without_the_gate_a_guest_knows_what_another_has_not_done():
    """A mutant: no gate before `cont`.  The shortest run that goes wrong is told."""
    report = explore_group(
        GroupExploration(programs("transactional", "transactional"), gates=ALL - {Gate.RESUME})
    )
    assert report.violation == "one-instant-of-the-group"
    story = " / ".join(report.story)
    assert "ResumeGuest / " in story
    sends = next(n for n, words in enumerate(report.story) if "sends" in words)
    receives = next(n for n, words in enumerate(report.story) if "receives" in words)
    goes_on = next(n for n, words in enumerate(report.story) if "ResumeGuest" in words)
    assert goes_on < sends < receives, (
        "it is sent by a guest that goes on, to one that was not saved yet"
    )


def test_without_the_decision_some_are_recorded_and_some_are_not():
    """A mutant: each member is recorded as soon as it is whole."""
    report = explore_group(
        GroupExploration(programs("transactional", "transactional"), gates=ALL - {Gate.COMMIT})
    )
    assert report.violation == "all-or-none"


def test_no_gate_but_the_first_is_not_enough():
    """All are stopped at one time, by luck in most runs: not by the first gate alone."""
    report = explore_group(
        GroupExploration(
            programs("transactional", "background"), gates=frozenset({Gate.PAUSE, Gate.COMMIT})
        )
    )
    assert report.violation == "one-instant-of-the-group"
