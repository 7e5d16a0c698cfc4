"""Designs that load or delete: their verdicts, what each promise is worth, and SPIN's agreement."""

import pytest
from attrs import evolve

from planner.errors import Refused
from planner.explore import back_moves
from planner.explore.acts import ClientDeath
from planner.explore.back_properties import BACK_PROPERTY_IDS
from planner.explore.design_text import read_design
from planner.explore.instruction import OnFailure
from planner.explore.promela_back import promela_back
from planner.model.operations import Kind
from planner.verbs.design_files import find_design
from tests.model.exploring import (
    BACK_DESIGNS,
    FAULTS,
    back_setting_for,
    explored,
    explored_back,
    searched,
    setting_for,
)
from tests.model.spin import SPIN_MISSING, model_in_spin, spin_of_back


@pytest.mark.parametrize("design", BACK_DESIGNS)
def test_verdict_in_each_file_is_found_again(design):
    """On two disks and on three, for every set of faults."""
    for key, more in FAULTS.items():
        for disks in (2, 3):
            report = explored_back(design, disks, **more)
            assert report.finished
            assert find_design(design).verdict[key] == report.violated, key


def test_every_property_is_violated_by_something():
    """None of them holds for want of a run that could break it."""
    found = {word for design in BACK_DESIGNS for word in find_design(design).verdict["one"]}
    found |= set(find_design("load-unordered").verdict["one-with-client-death"])
    found |= set(explored_back("delete-today", faults=2, other_clients=True).violated)
    assert found == set(BACK_PROPERTY_IDS)


def with_others(design):
    return explored_back(design, faults=2, other_clients=True).violated


def test_a_delete_by_tag_that_is_sent_again_takes_another_clients_snapshot():
    """By id it does not (fact 22)."""
    assert "old-intact" in with_others("delete-today")
    assert "old-intact" not in with_others("delete-each")
    assert "old-intact" not in with_others("delete-transaction")


def test_after_todays_load_has_failed_anybody_can_let_the_guest_run_on_it():
    """`cont` is accepted in `restore-vm` (fact 18); where nothing is half done, it does no harm."""
    assert "never-two-instants" in with_others("load-today")
    assert "never-two-instants" not in with_others("load-transaction")


PROMISES = {
    "on-failure": ("failure-keeps", lambda i: evolve(i, on_failure=OnFailure.WHAT_WAS_DONE)),
    "stops-guest": ("run-state-restored", lambda i: evolve(i, stops_guest=False)),
    "the pause": ("never-two-instants", lambda i: without(i, Kind.PAUSE_GUEST)),
    "the resume": ("run-state-restored", lambda i: without(i, Kind.RESUME_GUEST)),
    "the machine state": ("complete", lambda i: without(i, Kind.READ_VMSTATE)),
}


def without(instruction, kind):
    """The instruction without its operations of a kind, nothing else changed."""
    kept = [n for n, op in enumerate(instruction.operations) if op.kind is not kind]
    before = [
        sum(1 << new for new, old in enumerate(kept) if instruction.before[n] >> old & 1)
        for n in kept
    ]
    operations = tuple(instruction.operations[n] for n in kept)
    return evolve(instruction, operations=operations, before=tuple(before))


@pytest.mark.parametrize("promise", PROMISES)
def test_the_transaction_holds_because_of_each_of_its_promises(promise):
    """Left out alone, a run goes wrong."""
    wanted, changed = PROMISES[promise]
    setting = back_setting_for("load-transaction", faults=2, client_death=ClientDeath.FOR_GOOD)
    assert searched(setting).violated == ()
    mutant = evolve(setting, instructions=tuple(map(changed, setting.instructions)))
    assert wanted in searched(mutant).violated


def test_machine_state_of_a_disk_only_snapshot_cannot_be_read():
    """So the switch fails (fact 21), and the transaction takes the disks back."""
    report = explored_back("load-transaction", machine_state="none")
    assert report.violated == ("complete",)
    assert explored_back("load-disks-transaction", machine_state="none", faults=2).violated == ()


def mine(*lines, more=""):
    return read_design(
        f"design: mine\n{more}instructions:\n" + "".join(f"  - {n}\n" for n in lines)
    )


def refused(design, **more):
    with pytest.raises(Refused) as error:
        back_setting_for(design, **more)
    return " ".join(problem.message for problem in error.value.problems)


def test_what_cannot_be_judged_is_refused_by_the_instructions_name():
    """An operation or an effect that no load has; a disk that none reverts; a part that is elsewhere."""
    revert = "{name: go-back, does: RevertDisk}"
    assert "odd does FreezeFilesystems" in refused(
        mine(revert, "{name: odd, does: FreezeFilesystems}")
    )
    assert "odd has the effect" in refused(mine(revert, "{name: odd, effect: create-overlay}"))
    some = mine("{name: go-back, does: RevertDisk(vmstate)}")
    assert "no instruction of it does RevertDisk(disk1)" in refused(some)
    elsewhere = {"machine_state": "{image: /state}"}
    assert "goes back in a fresh QEMU" in refused("load-today", **elsewhere)


@pytest.mark.parametrize("design", BACK_DESIGNS)
def test_order_of_what_commutes_changes_nothing(design, monkeypatch):
    """Large requests are explored in one order of it: the same verdicts, fewer states."""
    for more in FAULTS.values():
        full = explored_back(design, 4, **more)
        monkeypatch.setattr(back_moves, "_EVERY_ORDER", 0)
        reduced = explored_back(design, 4, **more)
        monkeypatch.undo()
        assert reduced.violated == full.violated
        assert reduced.states <= full.states
    assert explored_back(design, 12, faults=1).finished


CASES = [("load-today", ClientDeath.NEVER), ("delete-transaction", ClientDeath.RECOVERED)]
LONG = [
    pytest.param(design, death, marks=pytest.mark.long)
    for design in BACK_DESIGNS
    for death in ClientDeath
    if (design, death) not in CASES
]


@pytest.mark.skipif(bool(SPIN_MISSING), reason=f"not installed: {', '.join(SPIN_MISSING)}")
@pytest.mark.parametrize(("design", "death"), [*CASES, *LONG])
def test_spin_agrees(design, death, tmp_path):
    """One fault; `script/campaign` asks for one to four disks."""
    setting = back_setting_for(design, faults=1, client_death=death)
    assert spin_of_back(setting, tmp_path) == set(searched(setting).violated)


@pytest.mark.skipif(bool(SPIN_MISSING), reason=f"not installed: {', '.join(SPIN_MISSING)}")
def test_what_qemu_was_sent_is_done_though_nobody_hears_it(tmp_path):
    """A client dies behind its last command: QEMU settles it, and the guest runs on what was loaded."""
    setting = back_setting_for("load-today", faults=1, client_death=ClientDeath.FOR_GOOD)
    last = len(setting.instructions) - 1
    unheard = f"phase == ENDED && !dead && at == {last} && running && AFTER"
    model = promela_back(setting)
    assert model.count("  if\n  :: assert") == 1
    asked = model.replace("  if\n  :: assert", "  if\n  :: assert(!(bad_settled))\n  :: assert")
    asked = asked.replace("  atomic {\n", f"  atomic {{\n    bad_settled = {unheard};\n", 1)
    violated, _ = model_in_spin("bool bad_settled;\n" + asked, tmp_path)
    assert "settled" in violated
    search = searched(setting)
    assert violated - {"settled"} == set(search.violated)


def test_other_clients_are_not_in_the_model():
    """The explorer has them alone."""
    with pytest.raises(Refused) as error:
        promela_back(back_setting_for("load-today", faults=1, other_clients=True))
    assert error.value.code == "export-cannot"


@pytest.mark.parametrize(
    ("client", "wanted"), [("does-not-undo", "atomic"), ("does-not-look", "atomic")]
)
def test_a_client_that_is_not_careful_is_judged(client, wanted):
    """Of a save: what a design leaves to its client is told by a client that does not do it."""
    from planner.explore.instruction import ClientKind
    from planner.explore.search import explore

    setting = setting_for("transactional", 3, faults=1, client=ClientKind(client))
    assert wanted in explore(setting).violated
    assert wanted not in explored("transactional", 3, faults=1).violated
