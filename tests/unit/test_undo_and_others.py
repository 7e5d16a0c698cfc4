"""Undo beside another QMP client: what is theirs stays as they left it."""

from planner.compile.plan import compile_request
from planner.run.phases import Phase
from tests.unit.build import plan, request, two_disks
from tests.unit.fake_vm import DELETE, REFUSED, Strike, run


def test_a_snapshot_made_while_we_undo_stays_although_it_has_our_tag_and_id():
    """qcow2 gives an id again: once ours is deleted, the next one of the tag is somebody else's."""
    the_facts = two_disks()
    theirs = Strike(DELETE, after=lambda vm: vm.make("disk1", "t"))
    fails = Strike("cont", REFUSED, done=False)
    outcome, vm = run(plan("transactional", the_facts).program, the_facts, fails, theirs)
    assert outcome.phase is Phase.UNDONE
    assert [(s.id, s.name) for s in vm.nodes["disk1"]] == [("1", "t")]
    assert vm.nodes["disk0"] == []
    assert vm.sent.count(DELETE) == 2, "each of ours once"
    assert vm.running


def test_a_guest_that_another_client_paused_is_not_resumed():
    """This run never paused it: undo says so and leaves it."""
    the_facts = two_disks()
    disks_only = request("t", "none", {"disk0": "internal", "disk1": "internal"})
    program = compile_request(disks_only, the_facts).program
    paused = Strike("transaction", REFUSED, done=False, before=lambda vm: vm.do_stop({}))
    outcome, vm = run(program, the_facts, paused)
    assert outcome.phase is Phase.INCOMPLETE
    assert [problem.code for problem in outcome.left] == ["run-state-changed"]
    assert not {"stop", "cont"} & set(vm.sent)
    assert not vm.running
