"""Undo of external parts keeps its hands off what it must not touch."""

import pytest

from planner.run.actions import AwaitEvent, ErrorReply, HostDo, NoAnswer, Poll, Returned, Send, Tell
from planner.run.observation import baseline_of
from planner.run.outcome import Outcome
from planner.run.phases import Phase
from planner.run.ports import Event
from planner.run.run_context import RunContext
from planner.save.save_machine import SaveMachine
from planner.save.undo_external import UndoExternal
from tests.unit.build import facts, plan, qcow2, raw, streamed

VM = facts(qcow2("disk0"), raw("vars0"), version="10.0")
OLD_VM = facts(qcow2("disk0"), raw("vars0"), version="7.2")
PROGRAM = plan("auto", VM, streamed("stopped", "disk0", overlays=["vars0"])).program
SET = PROGRAM.resolution.stream.descriptor_set
SHOWN = {"id": "1", "name": "t", "vm-state-size": 0, "vm-clock-sec": 0, "vm-clock-nsec": 0,
         "date-sec": 9, "date-nsec": 0}  # fmt: skip
TOUCHES = {"blockdev-snapshot-delete-internal-sync", "block-commit", "blockdev-del"}


def drive(answers, program=PROGRAM, vm=VM):
    """Run a program; `answers` says what some commands come to, the others are done.

    Returns:
        The outcome, and the commands sent, in order.
    """
    sent = []
    machine = SaveMachine.of(program, baseline_of(vm))
    action = machine.start()
    for _ in range(5000):
        if isinstance(action, Outcome):
            return action, sent
        events = ()
        response = Returned({"size": 1, "removed": True} if isinstance(action, HostDo) else 0)
        if isinstance(action, Send):
            sent.append(action.command)
            sets = [{"fdset-id": SET, "fds": [{"fd": 9}]}]
            found = answers.get(action.command, sets if action.command == "query-fdsets" else {})
            found = found(sent) if callable(found) else found
            response = found if isinstance(found, ErrorReply | NoAnswer) else Returned(found)
            events = (Event("STOP", {}),) if action.command == "stop" else ()
        assert isinstance(action, Send | HostDo | Poll | AwaitEvent | Tell)
        action = machine.tell(response, events)
    raise AssertionError("the run does not end")


def nodes(*overlay_snapshots):
    """What `query-named-block-nodes` says once the disks are captured."""
    overlay = PROGRAM.resolution.overlays[0].overlay
    return [
        {"node-name": "disk0", "image": {"snapshots": [SHOWN]}},
        {"node-name": overlay, "image": {"snapshots": list(overlay_snapshots)}},
    ]


def state(sent):
    """The run state as the commands have left it."""
    if "migrate" in sent:
        return {"status": "postmigrate"}
    return {"status": "paused" if "stop" in sent else "running"}


@pytest.mark.parametrize("held", [0, 2])
def test_a_descriptor_set_that_is_not_only_ours_is_not_written_to(held):
    """QEMU writes to the first one that fits: nothing is streamed, the descriptor is taken back."""
    sets = [{"fdset-id": SET, "fds": [{"fd": 9 + number} for number in range(held)]}]
    outcome, sent = drive(
        {
            "query-fdsets": sets,
            "query-status": {"status": "running"},
            "query-migrate": {},
            "query-named-block-nodes": [{"node-name": "disk0", "image": {}}],
            "query-jobs": [],
        }
    )
    assert (outcome.phase, outcome.failure.code) == (Phase.UNDONE, "descriptor-not-ours")
    assert not {"stop", "migrate"} & set(sent)
    assert sent.count("remove-fd") == 1


def test_nothing_touches_nodes_that_stay_inactive():
    """A `cont` that QEMU keeps refusing ends the undo: exit 21, and no command that would abort QEMU."""
    outcome, sent = drive(
        {
            "query-migrate": {"status": "completed"},
            "query-status": state,
            "cont": ErrorReply("GenericError", "not now"),
            "query-named-block-nodes": nodes(),
            "query-jobs": [],
        }
    )
    assert outcome.phase is Phase.INCOMPLETE
    assert [problem.code for problem in outcome.left] == ["nodes-inactive"]
    assert "not now" in outcome.left[0].message
    assert not TOUCHES & set(sent)


def test_an_overlay_with_somebody_elses_snapshot_is_not_merged():
    """Merging would lose it: the overlay stays on its disk, and is reported."""
    other = {**SHOWN, "name": "theirs"}
    outcome, sent = drive(
        {
            "migrate": ErrorReply("GenericError", "no"),
            "query-migrate": {"status": "none"},
            "query-status": lambda sent: (
                {"status": "running" if "cont" in sent else "paused"}
                if "stop" in sent
                else {"status": "running"}
            ),
            "blockdev-del": ErrorReply("GenericError", "Node is in use"),
            "query-named-block-nodes": lambda sent: (
                nodes(other) if "blockdev-snapshot-delete-internal-sync" in sent else nodes()
            ),
            "query-jobs": [],
        }
    )
    assert outcome.phase is Phase.INCOMPLETE
    assert "overlay-left" in {problem.code for problem in outcome.left}
    assert "block-commit" not in sent


@pytest.mark.parametrize("capture", ["live", "stopped"])
def test_a_stream_that_stays_cancelling_is_freed(capture):
    """QEMU 7 may wait for a `migrate-continue` after the cancel; only where it would have paused."""
    program = plan("auto", OLD_VM, streamed(capture, "disk0", overlays=["vars0"])).program
    live = capture == "live"
    asked = []

    def status(sent):
        asked.append(None)
        if "migrate_cancel" not in sent:
            return {"status": "active"}
        over = "migrate-continue" in sent if live else len(asked) > 100
        return {"status": "cancelled" if over else "cancelling"}

    def run_state(sent):
        if "stop" in sent and "cont" not in sent:
            return {"status": "paused"}
        waits = live and "migrate" in sent and "migrate-continue" not in sent
        return {"status": "finish-migrate" if waits else "running"}

    outcome, sent = drive(
        {
            "migrate": NoAnswer("nobody knows", lost=False),
            "query-migrate": status,
            "query-status": run_state,
            "query-named-block-nodes": [{"node-name": "disk0", "image": {}}],
            "query-jobs": [],
        },
        program,
        OLD_VM,
    )
    assert outcome.phase is Phase.UNDONE, outcome
    assert sent.count("migrate_cancel") == 1
    assert sent.count("migrate-continue") == live


def test_an_overlay_that_was_merged_while_clients_wrote_goes_only_where_both_are_the_same():
    """A storage daemon cannot be held: once it was told to complete, times prove nothing (fact 120)."""
    [made] = [step for step in PROGRAM.steps if step.execute == "create-overlay"]
    instructions = []
    for lacking in (False, True):
        context = RunContext(baseline_of(VM), files=[made], written={"vars0"})
        undo = UndoExternal(PROGRAM, context, [], [])
        holding = undo._hold_guest("vars0")
        assert next(holding).command == "query-status"
        assert holding.send(Returned({"status": "running"})).command == "stop"
        refusal = ErrorReply("CommandNotFound", "The command stop has not been found")
        with pytest.raises(StopIteration):
            holding.send(refusal if lacking else Returned({}))
        instructions.append(next(undo.remove_files(gone=True)).instruction)
    assert instructions == ["merge-overlay", "remove-if-equal"]
