"""Copies that one transaction begins are taken for one another, and a run that is undone forgets.

Held against the search that does neither: the same verdicts, by as short a run, also where copies can
spoil the guest's writes, end by themselves, or are of their end, and where the client undoes nothing.
"""

import pytest
from attrs import evolve

from planner.explore.copy_symmetry import copies_alike
from planner.explore.instruction import Completion, CopyOf
from planner.explore.moves import Reductions
from planner.explore.search import explore
from tests.model.exploring import FAULTS, setting_for
from tests.support.fixtures import long


def grouped(setting):
    return setting


def individual(setting):
    each = (evolve(i, completion=Completion.INDIVIDUAL) for i in setting.instructions)
    return evolve(setting, instructions=tuple(each))


def of_their_end(setting):
    return evolve(
        setting, instructions=tuple(evolve(i, copy_of=CopyOf.END) for i in setting.instructions)
    )


def spoiling(setting):
    """As before QEMU 11 (fact 113)."""
    return evolve(setting, spares_guest=False)


def one_spoils(setting):
    return spoiling(individual(setting))


def not_undone(setting):
    return evolve(spoiling(setting), undo=frozenset())


FORMS = (grouped, individual, of_their_end, spoiling, one_spoils, not_undone)


def verdict(report):
    assert report.finished
    return [(found.property_id, len(found.moves)) for found in report.violations]


def compare(form, disks, several, less):
    setting = form(setting_for("copies-grouped", disks))
    for more in several:
        asked = evolve(setting, **more)
        reduced, full = explore(asked), explore(asked, less)
        assert verdict(reduced) == verdict(full)
        assert reduced.states <= full.states


@pytest.mark.sample(3)
@pytest.mark.parametrize("form", FORMS)
def test_what_is_alike_changes_no_verdict_and_no_shortest_run(form):
    """Two disks against a search that leaves nothing out."""
    compare(form, 2, [FAULTS["one"], FAULTS["one-with-client-death"]], Reductions.none())


def test_other_clients_make_disks_unlike():
    """Their snapshots go with what the disk holds."""
    several = [FAULTS["one-with-other-clients"]]
    compare(grouped, 2, several, Reductions(symmetry=False))
    compare(grouped, 3, several, Reductions(symmetry=False))


@pytest.mark.long
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("faults", FAULTS)
def test_what_is_alike_changes_no_verdict_whatever_strikes(form, faults):
    """One to three disks: each set of faults."""
    for disks in (1, 2, 3):
        compare(form, disks, [FAULTS[faults]], Reductions(symmetry=False, forgetting=False))


@pytest.mark.parametrize("disks", [3, *long(4, 5)])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_alike_changes_no_verdict_of_more_disks(form, disks):
    """Up to five: one fault, and the client's death."""
    several = [FAULTS["one"], FAULTS["one-with-client-death"]]
    compare(form, disks, several, Reductions(symmetry=False, forgetting=False))


@pytest.mark.parametrize("form", FORMS)
def test_what_is_alike_is_all_copies_or_none(form):
    """None where a command of each reads what a copy holds, or the undo ends one after the other."""
    setting = form(setting_for("copies-grouped", 4))
    found = copies_alike(setting, lambda *_: True)
    assert list(found.values()) == ([] if form in (of_their_end, one_spoils) else [((0, 1, 2, 3),)])


def test_a_disk_that_holds_something_else_is_not_alike():
    """Another client's snapshot on one of the images."""
    setting = setting_for("copies-grouped", 3)
    one = evolve(setting.images[1], content=7)
    other = evolve(setting, images=(setting.images[0], one, setting.images[2]))
    assert list(copies_alike(other, lambda *_: True).values()) == [((0, 2),)]
