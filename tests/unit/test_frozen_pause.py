"""File systems frozen, and the guest stopped besides: `pause: always`, alone and in a group."""

import pytest
from attrs import evolve

from planner.errors import Refused
from planner.group.planning import plan_group
from planner.program.gates import Gate, gates_of
from planner.run.phases import Phase
from planner.verify.group_proof import GatedProgram, group_violations
from planner.verify.proof import violations
from tests.unit.build import plan, request, two_disks, with_steps
from tests.unit.fake_vm import LATE, LOST, REFUSED, Strike, run
from tests.unit.test_freezing import AGENT, BOTH, FREEZE, THAW
from tests.unit.test_group import NONE, member

FROZEN = {"freeze_filesystems": {"agent": AGENT, "at-most": 7}}
PROGRAM = plan(
    "transactional", the_request=request("t", "none", BOTH, pause="always", **FROZEN)
).program
ORDER = [FREEZE, "stop", "transaction", "cont", THAW]
TEXT = f"{NONE}pause: always\n"
WITH_AGENT = f"{TEXT}freeze-filesystems: {{agent: {AGENT}}}\n"


def test_the_guest_stands_between_the_freeze_and_the_thaw():
    """Its agent works only while it runs: frozen before, thawed after."""
    assert [step.execute for step in PROGRAM.steps] == ORDER
    assert violations(PROGRAM) == ()
    outcome, vm = run(PROGRAM, two_disks())
    assert outcome.phase is Phase.DONE
    assert [name for name in vm.sent if name in ORDER] == ORDER


@pytest.mark.parametrize("order", [(1, 0, 2, 3, 4), (0, 1, 2, 4, 3)], ids=["freeze", "thaw"])
def test_an_agent_that_is_asked_in_the_pause_is_no_proof(order):
    """The proof finds both ways round."""
    wrong = with_steps(PROGRAM, *(PROGRAM.steps[place] for place in order))
    assert "frozen-capture" in {problem.code for problem in violations(wrong)}


def test_disks_alone_pause_nothing_unless_asked():
    """A request of before is what it was, and says nothing of a pause."""
    plain = plan("transactional", the_request=request("t", "none", BOTH, **FROZEN)).program
    assert [step.execute for step in plain.steps] == [FREEZE, "transaction", THAW]
    assert not plain.resolution.stands


@pytest.mark.parametrize("answer", [REFUSED, LOST, LATE], ids=["refused", "lost", "late"])
@pytest.mark.parametrize("command", ["stop", "transaction", "cont"])
def test_a_guest_that_stands_is_thawed_once_it_runs_again(command, answer):
    """Undone: running, thawed, nothing left; the agent is not asked while its guest stands."""
    outcome, vm = run(PROGRAM, two_disks(), Strike(command, answer))
    assert outcome.phase in {Phase.UNDONE, Phase.DONE}
    assert vm.running
    assert not vm.frozen
    if command == "transaction":
        assert vm.sent.index("cont") < vm.sent.index(THAW)


def test_a_member_is_frozen_when_all_are_ready_and_thawed_when_all_are_captured():
    """Gates: freeze before the freeze, pause before the stop, resume before `cont` and the thaw."""
    db = member("db", WITH_AGENT)
    assert gates_of(db.plan.program) == {
        1: (Gate.FREEZE,),
        2: (Gate.PAUSE,),
        3: (Gate.PAUSED,),
        4: (Gate.RESUME,),
    }
    plan_group("g", [db, member("web", TEXT), member("job")])
    with pytest.raises(Refused) as refused:
        plan_group("g", [db, member("web", NONE)])
    assert [problem.code for problem in refused.value.problems] == ["group-without-pause"]


@pytest.mark.parametrize(
    "gates",
    [
        {1: (Gate.FREEZE, Gate.PAUSE), 4: (Gate.RESUME,)},
        {2: (Gate.FREEZE, Gate.PAUSE), 4: (Gate.RESUME,)},
    ],
    ids=["behind-the-pause", "before-all-are-ready"],
)
def test_a_freeze_elsewhere_is_no_proof(gates):
    """Frozen once others stand, or before they are ready."""
    program = member("db", WITH_AGENT).plan.program
    found = group_violations({"db": GatedProgram(program, gates)})
    assert [problem.subject for problem in found] == ["db: FreezeFilesystems()"]


def test_a_thaw_before_the_others_are_captured_is_no_proof():
    """The gate `resume` behind the thaw."""
    program = member("db", WITH_AGENT).plan.program
    swapped = evolve(program, steps=(*program.steps[:3], program.steps[4], program.steps[3]))
    gates = {1: (Gate.FREEZE,), 2: (Gate.PAUSE,), 5: (Gate.RESUME,)}
    subjects = {p.subject for p in group_violations({"db": GatedProgram(swapped, gates)})}
    assert "db: ThawFilesystems()" in subjects
