"""Designs as people write them: each is judged, or refused by an instruction's name."""

import pytest

from planner.errors import Refused
from planner.explore.design_text import read_design
from planner.explore.laying import lay
from planner.explore.rules_say import rules_say
from planner.explore.search import explore
from planner.explore.setting_of import setting_of
from planner.explore.state import ClientDeath
from tests.model.exploring import facts_of, resolution_of
from tests.model.spin import spin_and_explorer
from tests.support.fixtures import long

SAVE = "{in-order: [WriteVmstate, SnapshotDisk, DiscardVmstate]}"
TRANSACTION = (
    "{name: transaction, does: {any-order: [SnapshotDisk]}, atomic: true, on-failure: nothing}"
)


def proposal(*instructions, more=""):
    lines = "".join(f"  - {line}\n" for line in instructions)
    return read_design(f"design: mine\n{more}instructions:\n{lines}")


def over(design, machine_state="{internal: disk0}", **more):
    """A proposal over a request for two disks, to the end."""
    facts = facts_of(2)
    resolution = resolution_of(facts, machine_state=machine_state)
    instructions = lay(design, resolution).instructions
    return explore(setting_of(resolution, instructions, design.name, facts, **more))


ALL_IN_ONE = (
    "{in-order: [PauseGuest, SnapshotDisk, BeginStreamVmstate, EndStreamVmstate, ResumeGuest]}"
)
ONE_COMMAND = (
    "{name: create-stream, effect: create-stream}",
    "{name: settings, effect: change-settings}",
    f"{{name: save, atomic: true, on-failure: nothing, stops-guest: true, does: {ALL_IN_ONE}}}",
    "{name: keep-stream, effect: keep-stream}",
    "{name: settings, effect: restore-settings}",
)


@pytest.mark.parametrize("witness", ["explorer", *long("spin")])
def test_an_atomic_command_that_ends_a_stream_is_seen_whole(witness, tmp_path):
    """QEMU's main loop captures the disks: a client that was cut off finds all of them or none."""
    design = proposal(*ONE_COMMAND, more="capture: stopped\n")
    facts = facts_of(2, version="11.1")
    state = "{external: /state, capture: stopped}"
    resolution = resolution_of(facts, machine_state=state)
    instructions = lay(design, resolution).instructions
    setting = setting_of(resolution, instructions, design.name, facts, faults=1)
    report = explore(setting)
    assert report.violated == ()
    if witness == "spin":
        violated, expected, _ = spin_and_explorer(setting, report, tmp_path)
        assert violated == expected


NATURAL = {
    "no cont": (
        "run-state-restored",
        ("{name: stop, does: PauseGuest}", f"{{name: save, does: {SAVE}}}"),
    ),
    "no stop": (
        "one-instant",
        (f"{{name: save, does: {SAVE}}}", "{name: cont, does: ResumeGuest}"),
    ),
    "neither": ("one-instant", (f"{{name: save, does: {SAVE}}}",)),
    "cont before the save": (
        "one-instant",
        (
            "{name: stop, does: PauseGuest}",
            "{name: cont, does: ResumeGuest}",
            f"{{name: save, does: {SAVE}}}",
        ),
    ),
    "cont between the parts": (
        "one-instant",
        (
            "{name: stop, does: PauseGuest}",
            "{name: save, does: {in-order: [WriteVmstate, SnapshotDisk(vmstate), DiscardVmstate]}}",
            "{name: cont, does: ResumeGuest}",
            "{name: snapshot, does: SnapshotDisk(others)}",
        ),
    ),
    "no discard": (
        "no-vmstate-left",
        (
            "{name: stop, does: PauseGuest}",
            "{name: save, does: {in-order: [WriteVmstate, SnapshotDisk]}}",
            "{name: cont, does: ResumeGuest}",
        ),
    ),
    "stop and cont twice": (
        "one-instant",
        (
            "{name: stop, does: PauseGuest}",
            "{name: save, does: {in-order: [WriteVmstate, SnapshotDisk(vmstate), DiscardVmstate]}}",
            "{name: cont, does: ResumeGuest}",
            "{name: stop, does: PauseGuest}",
            "{name: snapshot, does: SnapshotDisk(others)}",
            "{name: cont, does: ResumeGuest}",
        ),
    ),
}


@pytest.mark.parametrize("mistake", NATURAL)
def test_a_natural_mistake_is_refuted_by_a_run(mistake):
    """Nothing has to strike: the run that goes wrong is shown, and the mistake is not merely refused."""
    wanted, instructions = NATURAL[mistake]
    report = over(proposal(*instructions))
    assert wanted in report.violated
    assert report.shortest.moves


def test_the_rules_name_what_no_instruction_does():
    """Beside the search, the rules say which operation is missing."""
    facts = facts_of(2)
    resolution = resolution_of(facts)
    _, instructions = NATURAL["no cont"]
    said = rules_say(lay(proposal(*instructions), resolution).instructions, resolution)
    assert [problem.subject for problem in said] == ["ResumeGuest()"]


def test_each_disk_by_its_own_command_is_one_instant_only_in_a_pause():
    """Disk-only: a pause that no transaction needs is kept where it is all that makes one instant."""
    alone = "{name: blockdev-snapshot-internal-sync, does: SnapshotDisk, each-alone: true}"
    stop, cont = "{name: stop, does: PauseGuest}", "{name: cont, does: ResumeGuest}"
    assert "one-instant" in over(proposal(alone), machine_state="none").violated
    assert over(proposal(stop, alone, cont), machine_state="none").violated == ()


REFUSED = {
    "RevertDisk": "[RevertDisk, WriteVmstate, SnapshotDisk, DiscardVmstate]",
    "ReadVmstate": "[WriteVmstate, SnapshotDisk, DiscardVmstate, ReadVmstate]",
}


@pytest.mark.parametrize("operation", REFUSED)
def test_what_goes_back_is_refused_in_a_design_that_saves(operation):
    """By the instruction's name, with the reason."""
    with pytest.raises(Refused) as refused:
        over(proposal(f"{{name: go-back, does: {{in-order: {REFUSED[operation]}}}}}"))
    problems = {problem.subject: problem.message for problem in refused.value.problems}
    assert f"go-back does {operation}, which goes back" in problems["go-back"]


def test_a_part_that_no_instruction_captures_is_refused():
    """It is no verdict on the design: it is not for this request."""
    with pytest.raises(Refused) as refused:
        over(proposal(TRANSACTION))
    assert "no instruction of it does WriteVmstate(disk0)" in str(refused.value.problems[0])


def test_a_part_that_two_instructions_capture_is_refused_by_their_names():
    """Which of the two it is that is meant nobody can know."""
    with pytest.raises(Refused) as refused:
        over(
            proposal(TRANSACTION, "{name: again, does: SnapshotDisk(others)}"), machine_state="none"
        )
    assert "2 instructions of it (transaction, again) do" in str(refused.value.problems[0])


def test_what_a_request_does_not_need_is_told():
    """What falls away is named with its instruction."""
    design = proposal(
        "{name: drop, does: DeleteDiskSnapshot}",
        "{name: create-stream, effect: create-stream}",
        "{name: stop, does: PauseGuest}",
        TRANSACTION,
    )
    laid = lay(design, resolution_of(facts_of(2), machine_state="none"))
    assert [name for name, _ in laid.left_out] == ["drop", "create-stream", "stop"]
    assert [i.name for i in laid.instructions] == ["transaction"]


FREEZE, THAW = "{name: freeze, does: FreezeFilesystems}", "{name: thaw, does: ThawFilesystems}"


@pytest.mark.parametrize(
    ("instructions", "violated"),
    [
        ((FREEZE, TRANSACTION, THAW), ()),
        ((FREEZE, TRANSACTION), ("thawed",)),
        ((FREEZE, THAW, TRANSACTION), ("frozen-capture",)),
        ((TRANSACTION, FREEZE, THAW), ("frozen-capture",)),
        ((FREEZE, FREEZE, TRANSACTION, THAW), ("complete",)),
        (("{name: stop, does: PauseGuest}", FREEZE, TRANSACTION, THAW), ()),
    ],
)
def test_a_freeze_is_judged(instructions, violated):
    """Without a thaw, thawed too early, frozen too late, frozen twice."""
    report = over(proposal(*instructions), machine_state="none", faults=0)
    assert report.violated == violated


def test_the_agent_of_a_guest_that_stands_still_does_not_answer():
    """A freeze inside the pause fails, in every run."""
    save = f"{{name: save, does: {SAVE}}}"
    stop, cont = "{name: stop, does: PauseGuest}", "{name: cont, does: ResumeGuest}"
    assert "complete" in over(proposal(stop, FREEZE, save, THAW, cont)).violated
    assert over(proposal(FREEZE, stop, save, cont, THAW)).violated == ()


@pytest.mark.parametrize("death", [ClientDeath.FOR_GOOD, ClientDeath.RECOVERED])
def test_a_dead_client_leaves_the_guest_frozen_until_somebody_recovers(death):
    """The thaw is the client's, so it dies with it."""
    report = over(proposal(FREEZE, TRANSACTION, THAW), "none", faults=1, client_death=death)
    assert report.violated == (("thawed",) if death is ClientDeath.FOR_GOOD else ())


SEPARATED = {
    "monolithic": False,
    "machine-snapshot": False,
    "savevm": False,
    "transactional": True,
    "include-vmstate": True,
    "naive-transaction": True,
}


@pytest.mark.parametrize("design", SEPARATED)
def test_the_clients_death_separates_one_job_from_many_commands(design):
    """One command leaves a run state as it should be; several leave the guest paused, and parts."""
    from tests.model.exploring import explored

    report = explored(design, faults=1, client_death=ClientDeath.FOR_GOOD)
    assert ("run-state-restored" in report.violated) is SEPARATED[design]
    recovered = explored(design, faults=1, client_death=ClientDeath.RECOVERED)
    assert "run-state-restored" not in recovered.violated
    assert "atomic" not in recovered.violated


TWO_PHASES = """\
design: two-phases
capture: live
instructions:
  - {name: create, effect: create-stream}
  - {name: prepare, does: BeginStreamVmstate}
  - name: transaction
    does: {in-order: [PauseGuest, {any-order: [SnapshotDisk]}, EndStreamVmstate, ResumeGuest]}
    atomic: true
    stops-guest: true
    on-failure: nothing
    LEAVES
  - {name: keep, effect: keep-stream}
"""


@pytest.mark.parametrize("leaves", [True, False])
def test_two_phases_with_machine_state_prepared(leaves):
    """Phase two in one command: after the end of a stream of today no disk can be snapshotted."""
    from tests.model.exploring import case

    facts = case("live")["facts"]
    resolution = resolution_of(facts, machine_state="{external: /state, capture: live}")
    text = TWO_PHASES.replace(
        "LEAVES", "leaves-nodes-active: true" if leaves else "each-alone: false"
    )
    early = text.replace(
        "{any-order: [SnapshotDisk]}, EndStreamVmstate", "EndStreamVmstate, SnapshotDisk"
    )
    found = {}
    for name, words in (("last", text), ("early", early)):
        instructions = lay(read_design(words), resolution).instructions
        setting = setting_of(resolution, instructions, "two-phases", facts)
        found[name] = explore(setting).violated
    assert found["last"] == ()
    assert (found["early"] == ()) is leaves


def test_the_pause_of_a_proposal_is_predicted_as_that_of_a_program():
    """By one model: the design file of `transactional` and what the compiler makes of it."""
    from planner.compare.predicting import predict_work
    from planner.explore.pause_work import PauseWork, pause_work
    from tests.model.exploring import explored

    report = explored("transactional", 2)
    work = pause_work(report.setting, report.example)
    assert predict_work(work, 2**30).machine_state_ms == 1280
    assert predict_work(work, None).machine_state_ms is None
    assert predict_work(work, 2**30).besides_ms == pytest.approx(1 + 2 + 0.2 * work.commands)
    assert predict_work(PauseWork(), 2**30) is None
