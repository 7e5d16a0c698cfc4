"""The verifier finds each thing that can be wrong with a program, by its rule.

Every case takes a right program, breaks one thing in it, and names all the rules that are then
broken, so that a check which says too little or too much shows.
"""

import pytest
from attrs import evolve

from planner.errors import Violation
from planner.model.operations import Kind, Operation
from planner.model.request import RunStateAfter
from planner.program.program import Step, Undo, UndoKind, WaitsFor
from planner.verify.proof import verify, violations
from tests.unit.build import facts, held, plan, qcow2, request, whole, with_steps

DISKS = ("disk0", "disk1", "disk2")
VM = facts(*(qcow2(name, snapshots=(held("t", "7"),)) for name in DISKS), qcow2("other"))
REQUEST = whole(*DISKS, existing_tag="replace", others="exclude")
SMALL = plan("transactional", VM, REQUEST).program
BIG = plan("monolithic", VM, REQUEST).program
PAUSED = plan("transactional", evolve(VM, run_state="paused"), REQUEST).program
DISKS_ONLY = plan(
    "transactional",
    VM,
    request(
        "t", "none", dict.fromkeys(DISKS, "internal"), others="exclude", existing_tag="replace"
    ),
).program

DELETE0, DELETE1, DELETE2, STOP, SAVE, TRANSACTION, CONT = SMALL.steps
WHOLE_SAVE = BIG.steps[-1]
ONE_CUT = DISKS_ONLY.steps[-1]


def arguments(step, **changed):
    return evolve(step, arguments={**step.arguments, **changed})


def actions(*pairs):
    kind = "blockdev-snapshot-internal-sync"
    return [{"type": kind, "data": {"device": device, "name": tag}} for device, tag in pairs]


def snapshots(*disks):
    return tuple(Operation(Kind.SNAPSHOT_DISK, disk=disk) for disk in disks)


def undo(*disks):
    return tuple(Undo(UndoKind.DELETE_PART, disk) for disk in disks)


def transaction(*disks, tag="t"):
    return evolve(
        TRANSACTION,
        arguments={"actions": actions(*((disk, tag) for disk in disks))},
        covers=snapshots(*disks),
        undo=undo(*disks),
    )


def instead(old, *new, program=SMALL):
    """The program with one step in another's place."""
    steps = [step for found in program.steps for step in (new if found is old else (found,))]
    return with_steps(program, *steps)


def moved(step, place, program=SMALL):
    rest = [found for found in program.steps if found is not step]
    return with_steps(program, *rest[:place], step, *rest[place:])


CASES = {
    # Order
    "save before stop": (moved(SAVE, 3), {"covers-truth", "one-instant"}),
    "transaction before stop": (moved(TRANSACTION, 3), {"one-instant"}),
    "transaction before save": (moved(TRANSACTION, 4), set()),  # nothing orders these two
    "transaction after cont": (moved(TRANSACTION, 6), {"one-instant"}),
    "save after cont": (moved(SAVE, 6), {"covers-truth", "one-instant"}),
    "cont twice, in the middle too": (
        instead(SAVE, SAVE, CONT, STOP),
        {"one-instant"},
    ),
    "vmstate disk in the transaction too, before": (
        instead(SAVE, transaction("disk0"), SAVE),
        {"vmstate-before-snapshot", "complete"},
    ),
    "vmstate disk in the transaction too, after": (
        instead(TRANSACTION, transaction(*DISKS)),
        {"complete"},
    ),
    "delete in the pause": (moved(DELETE1, 3), {"old-until-new"}),
    "delete after its disk's part": (moved(DELETE0, 4), {"old-until-new"}),
    "delete after its disk's part, of a paused VM": (
        moved(PAUSED.steps[2], 4, PAUSED),
        {"old-until-new"},
    ),
    "delete after its disk's part, disks only": (
        moved(DISKS_ONLY.steps[0], 3, DISKS_ONLY),
        {"old-until-new"},
    ),
    # Something is missing
    "no stop": (instead(STOP), {"covers-truth", "one-instant"}),
    "no cont": (instead(CONT), {"run-state-restored"}),
    "no save": (instead(SAVE), {"complete"}),
    "no transaction": (instead(TRANSACTION), {"complete"}),
    "no delete": (instead(DELETE1), {"complete"}),
    "no step at all": (with_steps(SMALL), {"complete"}),
    "a disk missing from the transaction": (
        instead(TRANSACTION, transaction("disk1")),
        {"complete"},
    ),
    # Something is too much
    "a disk twice in the transaction": (
        instead(TRANSACTION, transaction("disk1", "disk2", "disk2")),
        {"complete"},
    ),
    "the transaction twice": (instead(TRANSACTION, TRANSACTION, TRANSACTION), {"complete"}),
    "an excluded disk in the transaction": (
        instead(TRANSACTION, transaction("disk1", "disk2", "other")),
        {"nothing-else", "undo-complete"},
    ),
    "an excluded disk in the save": (
        instead(SAVE, arguments(SAVE, devices=["disk0", "other"])),
        {"nothing-else"},
    ),
    "an old snapshot that nobody gave up": (
        instead(DELETE1, DELETE1, evolve(
            arguments(DELETE1, id="8"),
            covers=(Operation(Kind.DELETE_DISK_SNAPSHOT, disk="disk1", detail="8"),),
        )),
        {"old-until-new"},
    ),
    "an old snapshot of an excluded disk": (
        instead(DELETE1, DELETE1, arguments(DELETE1, device="other")),
        {"nothing-else", "old-until-new"},
    ),
    "a second save": (
        instead(SAVE, SAVE, SAVE),
        {"complete", "vmstate-before-snapshot"},
    ),
    # Wrong arguments
    "another tag in the save": (
        instead(SAVE, arguments(SAVE, tag="u")), {"tag-differs"},
    ),
    "another tag in the transaction": (
        instead(TRANSACTION, transaction("disk1", "disk2", tag="u")), {"tag-differs"},
    ),
    "another tag in the delete": (
        instead(DELETE1, arguments(DELETE1, name="u")), {"tag-differs"},
    ),
    "vmstate not in devices": (
        instead(WHOLE_SAVE, arguments(WHOLE_SAVE, devices=["disk1", "disk2"]), program=BIG),
        {"vmstate-not-in-devices", "snapshot-before-discard", "complete", "undo-complete"},
    ),
    "vmstate on another disk": (
        instead(WHOLE_SAVE, evolve(
            arguments(WHOLE_SAVE, vmstate="disk1"),
            covers=tuple(
                op._replace(disk="disk1")
                if op.kind in (Kind.WRITE_VMSTATE, Kind.DISCARD_VMSTATE) else op
                for op in WHOLE_SAVE.covers
            ),
        ), program=BIG),
        {"complete"},
    ),
    "a device twice": (
        instead(WHOLE_SAVE, arguments(WHOLE_SAVE, devices=["disk0", "disk1", "disk1", "disk2"]),
                program=BIG),
        {"device-twice", "complete"},
    ),
    "no devices": (
        instead(SAVE, arguments(SAVE, devices=[])),
        {"vmstate-not-in-devices", "snapshot-before-discard", "complete", "undo-complete"},
    ),
    "a job id that QEMU refuses": (
        instead(SAVE, arguments(SAVE, **{"job-id": "before upgrade"})), {"job-id-malformed"},
    ),
    "an argument missing": (
        instead(SAVE, evolve(SAVE, arguments={"tag": "t"})),
        {"arguments-malformed", "complete", "undo-complete"},
    ),
    "an argument of another type": (
        instead(TRANSACTION, arguments(TRANSACTION, actions=7)),
        {"arguments-malformed", "covers-truth", "complete", "undo-complete"},
    ),
    "an unknown command": (
        instead(STOP, STOP, Step("system_reset", {}, (), WaitsFor.REPLY)), {"instruction-unknown"},
    ),
    "an unknown action": (
        instead(TRANSACTION, arguments(TRANSACTION, actions=[
            *TRANSACTION.arguments["actions"], {"type": "drive-backup", "data": {}},
        ])),
        {"instruction-unknown"},
    ),
    # What the step says of itself
    "a wait for the reply of a job": (
        instead(SAVE, evolve(SAVE, waits_for=WaitsFor.REPLY)), {"outcome-seen"},
    ),
    "no wait for the pause": (
        instead(STOP, evolve(STOP, waits_for=WaitsFor.REPLY)), {"outcome-seen"},
    ),
    "no wait for the guest to run": (
        instead(CONT, evolve(CONT, waits_for=WaitsFor.REPLY)), {"outcome-seen"},
    ),
    "a wait for a job where there is none": (
        instead(TRANSACTION, evolve(TRANSACTION, waits_for=WaitsFor.JOB)), {"outcome-seen"},
    ),
    "covers less": (
        instead(TRANSACTION, evolve(TRANSACTION, covers=snapshots("disk1"))), {"covers-truth"},
    ),
    "covers in another order than it promises": (
        instead(SAVE, evolve(SAVE, covers=SAVE.covers[::-1])), {"covers-truth"},
    ),
    "an order that a transaction does not promise": (
        instead(TRANSACTION, evolve(TRANSACTION, ordered=True)), {"covers-truth"},
    ),
    "all or nothing, of a job": (
        instead(SAVE, evolve(SAVE, atomic=True)), {"covers-truth"},
    ),
    "an undo less": (
        instead(TRANSACTION, evolve(TRANSACTION, undo=undo("disk1"))), {"undo-complete"},
    ),
    "an undo too much": (
        instead(TRANSACTION, evolve(TRANSACTION, undo=undo("disk1", "disk2", "other"))),
        {"undo-complete"},
    ),
    "no undo of the pause": (instead(STOP, evolve(STOP, undo=())), {"undo-complete"}),
    # Disks only, of a running guest
    "two transactions while the guest runs": (
        instead(ONE_CUT, transaction("disk0", "disk1"), transaction("disk2"), program=DISKS_ONLY),
        {"one-instant"},
    ),
    "machine state that nobody asked for": (
        instead(ONE_CUT, WHOLE_SAVE, program=DISKS_ONLY), {"complete"},
    ),
    "another run state than asked for": (
        evolve(BIG, resolution=evolve(BIG.resolution, run_state_after=RunStateAfter.PAUSED)),
        {"run-state-restored"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("program", [SMALL, BIG, PAUSED, DISKS_ONLY])
def test_a_right_program_is_proved(program):
    """The programs that the cases start from break nothing."""
    assert violations(program) == ()
    verify(program)


@pytest.mark.parametrize("name", CASES)
def test_each_mistake_is_found_by_its_rule(name):
    """One thing broken: just the rules that it breaks are named."""
    program, expected = CASES[name]
    found = violations(program)
    assert {problem.code for problem in found} == expected, "\n".join(map(str, found))


def test_the_verifier_says_which_step_breaks_the_rule():
    """A violation names rule, step and reason, and is an exit of its own."""
    with pytest.raises(Violation) as violation:
        verify(moved(TRANSACTION, 6))
    problem = violation.value.problems[0]
    assert problem.code == "one-instant"
    assert problem.subject == "step 7 (transaction)"
    assert violation.value.exit_code == 30
