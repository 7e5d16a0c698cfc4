"""Limits on the pause: judged where somebody asks, by the explorer and by SPIN alike."""

import pytest
from attrs import evolve

from planner.explore.acts import Act, ClientDeath
from planner.explore.limits import InPause, Limits
from planner.explore.moves import Reductions
from planner.explore.pause_work import pause_work
from planner.explore.promela import promela
from planner.explore.search import explore
from planner.model.operations import Kind
from planner.model.request import RunStateAfter
from tests.model.exploring import DESIGNS, case, explored, setting_for
from tests.model.spin import SPIN_MISSING, spin_and_explorer
from tests.support.fixtures import long

ASKED = {"pause-within", "monitor-answers"}
STRICTEST = Limits(InPause.NOTHING, monitor_answers=True)
AT_MOST = tuple(each for each in InPause if each is not InPause.ALL)


@pytest.mark.sample(5)
@pytest.mark.parametrize("design", DESIGNS)
def test_what_is_judged_is_what_is_told(design):
    """A limit is broken exactly where the run without faults is told to write more, by each limit."""
    report = explored(design, limits=STRICTEST)
    if not report.example:
        return  # `external-migrate-first` never comes to an end: nothing is told of it
    work = pause_work(report.setting, report.example)
    for limit in InPause:
        found = explored(design, limits=Limits(limit)).violated
        assert ("pause-within" in found) is (work.memory.rank > limit.rank)
    assert ("monitor-answers" in report.violated) is bool(work.silent)


@pytest.mark.sample(4)
@pytest.mark.parametrize("design", DESIGNS)
def test_a_limit_changes_no_other_verdict(design):
    """With and without: the same of all other properties; unasked, neither is judged."""
    asked, unasked = (
        explored(design, faults=1, other_clients=True, **more)
        for more in ({"limits": STRICTEST}, {})
    )
    assert ASKED.isdisjoint(unasked.violated)
    assert tuple(found for found in asked.violated if found not in ASKED) == unasked.violated


@pytest.mark.parametrize("design", ["live", *long("include-vmstate", "post-copy")])
def test_no_reduction_changes_what_is_said_of_limits(design):
    """The same verdicts, by as short a run, on one to three disks."""
    for disks in (1, 2, 3):
        told = [
            [
                (found.property_id, len(found.moves))
                for found in explored(
                    design, disks, reductions=how, faults=1, limits=STRICTEST
                ).violations
            ]
            for how in (None, Reductions.none())
        ]
        assert told[0] == told[1]


def test_the_counterexample_shows_the_instruction_that_breaks_it():
    """It is named, and its write is in the run, the guest standing."""
    limits = Limits(InPause.TRACKING, monitor_answers=True)
    report = explored("transactional", limits=limits)
    found = {each.property_id: each for each in report.violations}
    assert set(found) == ASKED
    for each in found.values():
        assert "snapshot-save" in each.why
        assert each.done
        [write] = [
            move
            for move in each.moves
            if move.action.act is Act.OPERATE
            and report.setting.instructions[move.action.first].operations[move.action.second].kind
            is Kind.WRITE_VMSTATE
        ]
        assert not write.before.running
        assert write.after.broken.paused == write.after.broken.silent == write.action.first + 1


def test_a_guest_that_stood_before_is_not_kept_still():
    """Nothing is asked of a pause that is not the run's; of the monitor it is."""
    facts = case("transactional")["facts"]
    resolution = case("transactional")["resolution"]
    stood = evolve(
        resolution,
        run_state_before=RunStateAfter.PAUSED,
        run_state_after=RunStateAfter.PAUSED,
    )
    report = explored("transactional", facts=facts, resolution=stood, limits=STRICTEST)
    assert set(report.violated) == {"monitor-answers"}


def test_unasked_the_model_for_spin_is_as_it_was():
    """Not a word of limits is in it; asked, each has its variable."""
    without = promela(setting_for("live"))
    asked = promela(setting_for("live", limits=STRICTEST))
    for word in ("bad_pause_within", "bad_monitor_answers"):
        assert word not in without
        assert word in asked


KINDS = ("background", "external", "include-vmstate", "live", "post-copy")
"""Of each way to capture machine state one."""

CAMPAIGN = [(design, 2, limit, ClientDeath.NEVER) for design in DESIGNS for limit in AT_MOST]
CAMPAIGN += [(d, n, limit, ClientDeath.NEVER) for d in KINDS for n in (1, 3) for limit in AT_MOST]
CAMPAIGN += [
    (design, 2, InPause.TRACKING, death)
    for design in KINDS
    for death in (ClientDeath.FOR_GOOD, ClientDeath.RECOVERED)
]
ALWAYS = (
    ("post-copy", 1, InPause.TRACKING, ClientDeath.NEVER),
    ("transactional", 1, InPause.REST, ClientDeath.NEVER),
)


@pytest.mark.skipif(bool(SPIN_MISSING), reason=f"not installed: {', '.join(SPIN_MISSING)}")
@pytest.mark.parametrize("asked", [*ALWAYS, *long(*CAMPAIGN)], ids=str)
def test_spin_agrees_about_limits(asked, tmp_path):
    """The same properties are violated with one fault."""
    design, disks, limit, death = asked
    limits = Limits(limit, monitor_answers=True)
    setting = setting_for(design, disks, faults=1, limits=limits, client_death=death)
    spin, explorer, _ = spin_and_explorer(setting, explore(setting), tmp_path)
    assert spin == explorer
