"""The machine, driven by hand: each design to its end, and each failure at each step."""

import itertools

import pytest
from attrs import evolve

from planner.errors import (
    InternalError,
    Interrupted,
    OutcomeUnknown,
    RunFailed,
    UndoIncomplete,
    VmChanged,
)
from planner.model.facts import SnapshotInfo
from planner.run.actions import AwaitEvent, Returned, Send
from planner.run.observation import baseline_of, bind
from planner.run.outcome import Outcome
from planner.run.phases import ENDS, TRANSITIONS, Phase, check_transition
from planner.run.ports import Event
from planner.save.save_machine import SaveMachine
from tests.unit.build import drive, facts, filtered, held, plan, qcow2, request, whole
from tests.unit.fake_vm import DELETE, LATE, LOST, REFUSED, FakeVm, Strike, run

VM = facts(qcow2("disk0"), filtered("disk1"), drive("disk2"))
PAUSED = evolve(VM, run_state="paused")
NAMES = ("disk0", "disk1", "disk2")
PROGRAMS = {
    "monolithic": (plan("monolithic", VM, whole(*NAMES)).program, VM),
    "transactional": (plan("transactional", VM, whole(*NAMES)).program, VM),
    "transactional, vmstate on the -drive disk": (
        plan("transactional", VM, whole(*NAMES, vmstate="disk2")).program, VM,
    ),
    "monolithic, paused": (plan("monolithic", PAUSED, whole(*NAMES)).program, PAUSED),
    "transactional, paused": (plan("transactional", PAUSED, whole(*NAMES)).program, PAUSED),
    "paused, to run": (
        plan("transactional", PAUSED, whole(*NAMES, run_state_after="running")).program, PAUSED,
    ),
    "running, to pause": (
        plan("transactional", VM, whole(*NAMES, run_state_after="paused")).program, VM,
    ),
    "disks only": (
        plan("auto", VM, request("t", "none", dict.fromkeys(NAMES, "internal"))).program, VM,
    ),
}  # fmt: skip
each_program = pytest.mark.parametrize("name", PROGRAMS)


def commands(name):
    return [step.execute for step in PROGRAMS[name][0].steps]


def parts_left(vm):
    return [s for held_ones in vm.nodes.values() for s in held_ones if s.name == "t"]


def kind_of(outcome):
    with pytest.raises(RunFailed) as error:
        outcome.raise_failure()
    raised = error.value
    assert (raised.run_state, raised.undone, raised.left, raised.pause_us) == (
        outcome.run_state,
        outcome.undone,
        outcome.left,
        outcome.pause_us,
    )
    assert set(raised.left) <= set(raised.problems)
    return type(raised)


def assert_undone(outcome, vm, the_facts):
    """Exit 20's promise: no part is left, the guest runs as before, and it says so."""
    assert outcome.phase is Phase.UNDONE
    assert parts_left(vm) == []
    assert vm.running == (the_facts.run_state == "running")
    assert outcome.run_state == the_facts.run_state
    assert outcome.left == ()
    assert outcome.parts == ()
    assert vm.job is None


# The good end


@each_program
def test_a_run_ends_with_each_part_once_and_the_run_state_asked_for(name):
    """Every design, on the fake VM: done, with the parts as the VM shows them."""
    program, the_facts = PROGRAMS[name]
    outcome, vm = run(program, the_facts)
    assert outcome.phase is Phase.DONE
    assert [part.disk for part in outcome.parts] == list(NAMES)
    assert len({part.snapshot.vm_clock_ns for part in outcome.parts}) == 1
    assert outcome.run_state == program.resolution.run_state_after
    assert vm.running == (outcome.run_state == "running")
    assert vm.job is None
    assert outcome.raise_failure() is None
    steps = [command for command in vm.sent if command in commands(name)]
    assert steps == commands(name)
    assert vm.told == commands(name)


def test_the_pause_is_measured_by_qemu_s_own_clock():
    """From the first STOP to the last RESUME; none where the guest was not paused."""
    outcome, _ = run(*PROGRAMS["transactional"])
    assert [name for name, _ in outcome.events] == ["STOP", "RESUME"]
    assert outcome.pause_us == outcome.events[1][1] - outcome.events[0][1] > 0
    assert run(*PROGRAMS["disks only"])[0].pause_us is None


def test_references_are_bound_to_the_names_of_now():
    """QEMU is sent `#block…` where a plan says `@disk2`, and a name that is neither as it is."""
    program, the_facts = PROGRAMS["monolithic"]
    machine = SaveMachine.of(program, baseline_of(the_facts))
    action = machine.start()
    while not (isinstance(action, Send) and action.command == "snapshot-save"):
        action = machine.tell(Returned())
    assert action.arguments["devices"] == ["disk0", "disk1", "#block2"]
    assert action.starts_deadline
    assert action.timeout_s == program.steps[0].timeout_s


def test_a_reference_that_means_nothing_is_a_vm_that_changed():
    """It is never sent as it stands."""
    with pytest.raises(VmChanged):
        bind({"devices": ["@gone"]}, {})
    assert bind({"tag": "@gone"}, {}) == {"tag": "@gone"}
    assert bind({"vmstate": "@a"}, {"@a": "#block1"}) == {"vmstate": "#block1"}


def test_a_deadline_from_outside_replaces_the_steps_own():
    """`--timeout` counts for every step."""
    program, the_facts = PROGRAMS["transactional"]
    machine = SaveMachine.of(program, baseline_of(the_facts), deadline_s=7.0)
    machine.start()
    assert machine.tell(Returned()).timeout_s == 7.0


# A failure at each step

EACH_STEP = [
    pytest.param(name, command, id=f"{name}: {command}")
    for name in PROGRAMS
    for command in commands(name)
]


@pytest.mark.parametrize(("name", "command"), EACH_STEP)
def test_a_refused_step_is_undone(name, command):
    """QEMU answers with an error: nothing of the step was done, and the rest is undone."""
    program, the_facts = PROGRAMS[name]
    outcome, vm = run(program, the_facts, Strike(command, REFUSED, done=False))
    assert_undone(outcome, vm, the_facts)
    assert outcome.failure.code == "command-refused"
    assert command in outcome.failure.where
    assert "QEMU says: injected" in outcome.failure.message
    assert kind_of(outcome) is RunFailed


@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("answer", [LOST, LATE], ids=["lost", "late"])
@pytest.mark.parametrize(("name", "command"), EACH_STEP)
def test_a_step_of_unknown_outcome_is_looked_at_and_undone(name, command, answer, done):
    """No answer: whether or not QEMU did it, in the end nothing of it is left."""
    program, the_facts = PROGRAMS[name]
    outcome, vm = run(program, the_facts, Strike(command, answer, done=done))
    assert outcome.failure.code == ("connection-lost" if answer.lost else "deadline-passed")
    assert_undone(outcome, vm, the_facts)


@pytest.mark.parametrize(("name", "command"), EACH_STEP)
def test_a_step_is_never_sent_twice(name, command):
    """A step of unknown outcome is not tried again; a save twice would be two snapshots."""
    program, the_facts = PROGRAMS[name]
    _, vm = run(program, the_facts, Strike(command, LOST, done=False))
    for capturing in ("snapshot-save", "transaction"):
        assert vm.sent.count(capturing) <= commands(name).count(capturing)


@each_program
def test_an_interrupt_before_any_step_undoes_what_was_done(name):
    """Ctrl-C between steps: the same way back, and an exit of its own."""
    program, the_facts = PROGRAMS[name]
    for place in range(len(program.steps)):
        count = itertools.count()

        def watch(machine, action, place=place, count=count):
            is_step = isinstance(action, Send) and action.starts_deadline
            if is_step and next(count) == place:
                machine.interrupt()

        outcome, vm = run(program, the_facts, watch=watch)
        assert_undone(outcome, vm, the_facts)
        assert kind_of(outcome) is Interrupted
        assert outcome.failure.code == "interrupted"


def test_an_interrupt_before_the_first_step_sends_nothing():
    """Nothing was done, so nothing but a look at the VM follows."""
    program, the_facts = PROGRAMS["transactional"]

    def watch(machine, action):
        del action
        machine.interrupt()

    machine_sent = run(program, the_facts, watch=watch)[1].sent
    assert machine_sent.count("stop") == 1  # the first step was in hand already
    machine = SaveMachine.of(program, baseline_of(the_facts))
    machine.interrupt()
    assert "interrupted" in machine.start().text


# The job


@pytest.mark.parametrize("name", ["monolithic", "transactional", "monolithic, paused"])
def test_a_job_that_fails_is_dismissed_and_undone(name):
    """QEMU said `{}` and the job's error says otherwise (fact 1)."""
    program, the_facts = PROGRAMS[name]

    def fails(vm):
        vm.job_error = "no space"

    outcome, vm = run(program, the_facts, Strike("snapshot-save", before=fails))
    assert outcome.failure.code == "job-failed"
    assert "QEMU says: no space" in outcome.failure.message
    assert_undone(outcome, vm, the_facts)


def test_a_job_that_somebody_else_dismissed_has_no_known_outcome():
    """Its parts are looked for all the same, and undone."""
    program, the_facts = PROGRAMS["monolithic"]
    outcome, vm = run(
        program, the_facts, Strike("snapshot-save", after=lambda vm: setattr(vm, "job", None))
    )
    assert outcome.failure.code == "job-vanished"
    assert_undone(outcome, vm, the_facts)


@pytest.mark.parametrize("name", ["monolithic", "transactional"])
def test_a_job_that_is_dismissed_before_anything_is_heard_of_it_is_not_waited_for(name):
    """`concluded` and `null` come together: the last word is that there is no job."""
    program, the_facts = PROGRAMS[name]

    def dismissed(vm):
        vm.job_status("null")
        vm.job = None

    outcome, vm = run(program, the_facts, Strike("snapshot-save", after=dismissed))
    assert outcome.failure.code == "job-vanished"
    assert_undone(outcome, vm, the_facts)


def test_a_wish_to_stop_looks_once_for_a_job_of_which_nothing_is_heard():
    """One that works is waited for, since it cannot be cancelled; one that is gone is not."""
    program, the_facts = PROGRAMS["monolithic"]
    job = program.steps[0].arguments["job-id"]
    shown = {"id": job, "type": "snapshot-save"}

    def waiting():
        machine = SaveMachine.of(program, baseline_of(the_facts))
        machine.start()
        machine.tell(Returned())
        assert machine.tell(Returned({})) == AwaitEvent()
        machine.interrupt()
        return machine, machine.tell(Returned())

    machine, action = waiting()
    assert action.command == "query-jobs"
    assert action.timeout_s == program.steps[0].timeout_s
    assert machine.tell(Returned([{**shown, "status": "running"}])) == AwaitEvent()
    assert machine.tell(Returned()) == AwaitEvent()
    machine, _ = waiting()
    assert machine.tell(Returned([])).command == "query-jobs"


def test_a_bug_in_a_run_undoes_it_like_any_other_failure():
    """A reply that nobody thought of must not leave the guest paused."""

    class Odd(dict):
        def get(self, *_):
            raise RecursionError

    program, the_facts = PROGRAMS["transactional"]
    outcome, vm = run(program, the_facts, Strike("query-status", answer=Returned(Odd())))
    assert outcome.failure.code == "internal-error"
    assert_undone(outcome, vm, the_facts)


def test_the_return_of_a_save_is_not_taken_for_its_end():
    """The machine waits for the job's own events, whatever came with the reply."""
    program, the_facts = PROGRAMS["monolithic"]
    machine = SaveMachine.of(program, baseline_of(the_facts))
    machine.start()
    machine.tell(Returned())
    job = program.steps[0].arguments["job-id"]
    other = Event("JOB_STATUS_CHANGE", {"id": "another", "status": "concluded"}, 1)
    action = machine.tell(Returned({}), [other])
    for status in ("created", "running", "waiting", "pending"):
        assert type(action).__name__ == "AwaitEvent"
        action = machine.tell(
            Returned(), [Event("JOB_STATUS_CHANGE", {"id": job, "status": status}, 2)]
        )
    action = machine.tell(
        Returned(), [Event("JOB_STATUS_CHANGE", {"id": job, "status": "concluded"}, 3)]
    )
    assert action == Send("query-jobs")


def test_a_job_that_goes_on_after_the_deadline_is_waited_for_before_undoing():
    """There is no cancel (fact 2): undo looks only once the job has ended."""
    program, the_facts = PROGRAMS["monolithic"]
    outcome, vm = run(program, the_facts, Strike(
        "snapshot-save", after=lambda vm: (vm.take_events(), vm.job.update(status="running"))
    ), Strike("query-jobs", nth=2, before=lambda vm: vm.job_status("concluded")))  # fmt: skip
    assert outcome.failure.code == "deadline-passed"
    assert_undone(outcome, vm, the_facts)


def test_a_job_that_never_ends_leaves_the_outcome_unknown():
    """Nothing is deleted under a job that still works."""
    program, the_facts = PROGRAMS["monolithic"]
    outcome, vm = run(program, the_facts, Strike(
        "snapshot-save", after=lambda vm: (vm.take_events(), vm.job.update(status="running"))
    ))  # fmt: skip
    assert outcome.phase is Phase.UNKNOWN
    assert kind_of(outcome) is OutcomeUnknown
    assert DELETE not in vm.sent
    assert [problem.code for problem in outcome.left] == ["vm-silent"]


def test_a_job_that_cannot_be_dismissed_does_not_fail_the_snapshot():
    """A job that stays is a nuisance."""
    program, the_facts = PROGRAMS["monolithic"]
    outcome, _ = run(program, the_facts, Strike("job-dismiss", REFUSED, done=False))
    assert outcome.phase is Phase.DONE


# Other clients, and a VM that does not show what it should


@pytest.mark.parametrize("command", ["stop", "snapshot-save", "transaction"])
def test_a_guest_resumed_by_somebody_else_inside_the_pause_is_undone(command):
    """The parts would be of different instants."""
    program, the_facts = PROGRAMS["transactional"]
    outcome, vm = run(program, the_facts, Strike(command, after=lambda vm: vm.do_cont({})))
    assert outcome.failure.code in ("resumed-by-other", "run-state-unexpected")
    assert outcome.phase is Phase.UNDONE
    assert parts_left(vm) == []
    assert vm.running


def resumed_for_a_moment(vm):
    vm.do_cont({})
    vm.tick()
    vm.do_stop({})


@pytest.mark.parametrize("name", ["transactional", "transactional, paused", "disks only"])
@pytest.mark.parametrize("command", ["transaction", "query-named-block-nodes"])
def test_a_foreign_resume_is_seen_by_its_event(name, command):
    """Resumed and stopped again between two answers: the state looks right, the event does not."""
    program, the_facts = PROGRAMS[name]
    outcome, vm = run(program, the_facts, Strike(command, before=resumed_for_a_moment))
    inside = name != "disks only" and (command == "transaction" or "paused" in name)
    if inside:
        assert outcome.failure.code == "resumed-by-other"
        assert outcome.phase is Phase.UNDONE
        assert parts_left(vm) == []
    else:
        assert outcome.failure is None or outcome.failure.code != "resumed-by-other"


def test_parts_of_different_instants_are_undone():
    """One vm-clock for all that was captured in one pause (fact 15)."""
    program, the_facts = PROGRAMS["transactional"]

    def tear(vm):
        vm.clock_ns += 1

    outcome, vm = run(program, the_facts, Strike("transaction", before=tear))
    assert outcome.failure.code == "parts-differ"
    assert_undone(outcome, vm, the_facts)


def test_disks_only_of_a_running_guest_may_have_clocks_apart():
    """One cut by draining (fact 24), not by a pause."""
    program, the_facts = PROGRAMS["disks only"]

    def shift(vm):
        last = vm.nodes["#block2"][-1]
        vm.nodes["#block2"][-1] = evolve(last, vm_clock_ns=last.vm_clock_ns + 5)

    outcome, _ = run(program, the_facts, Strike("transaction", after=shift))
    assert outcome.phase is Phase.DONE


def test_a_part_that_is_missing_in_the_end_is_a_failure():
    """Somebody deleted it: the snapshot is not whole, so the rest goes too."""
    program, the_facts = PROGRAMS["monolithic"]
    gone = Strike("query-named-block-nodes", before=lambda vm: vm.nodes["disk1"].clear())
    outcome, vm = run(program, the_facts, gone)
    assert outcome.failure.code == "part-count"
    assert_undone(outcome, vm, the_facts)


def test_two_new_snapshots_of_the_tag_are_not_guessed_between():
    """Made after ours and by another: nothing tells them apart, so both stay and are reported."""
    program, the_facts = PROGRAMS["monolithic"]
    another = Strike("query-named-block-nodes", before=lambda vm: vm.make("disk1", "t"))
    outcome, vm = run(program, the_facts, another)
    assert outcome.failure.code == "part-count"
    assert outcome.phase is Phase.INCOMPLETE
    assert kind_of(outcome) is UndoIncomplete
    assert [(p.code, p.subject) for p in outcome.left] == [("ownership-unclear", "disk1")]
    assert [len(held_ones) for held_ones in vm.nodes.values()] == [0, 2, 0]


@pytest.mark.parametrize("size", [0, 99])
def test_machine_state_on_the_wrong_disk_is_a_failure(size):
    """On the vmstate disk and nowhere else."""
    program, the_facts = PROGRAMS["monolithic"]
    node = "disk0" if size == 0 else "disk1"

    def swap(vm):
        vm.nodes[node][-1] = evolve(vm.nodes[node][-1], vm_state_size_bytes=size)

    outcome, vm = run(program, the_facts, Strike("query-named-block-nodes", before=swap))
    assert outcome.failure.code == "vmstate-misplaced"
    assert_undone(outcome, vm, the_facts)


def test_a_guest_that_does_not_run_in_the_end_is_a_failure():
    """The run state asked for is part of what was asked for."""
    program, the_facts = PROGRAMS["monolithic"]
    outcome, vm = run(program, the_facts, Strike("query-status", before=lambda vm: vm.do_stop({})))
    assert outcome.failure.code == "run-state-unexpected"
    assert_undone(outcome, vm, the_facts)


@pytest.mark.parametrize("command", ["stop", "cont"])
def test_a_stop_or_cont_without_effect_is_a_failure(command):
    """The command returned, and the run state says otherwise."""
    program, the_facts = PROGRAMS["transactional"]
    outcome, vm = run(program, the_facts, Strike(command, Returned({}), done=False))
    assert outcome.failure.code == "run-state-unexpected"
    assert_undone(outcome, vm, the_facts)


def test_a_malformed_answer_is_a_failure_and_undone():
    """An answer in another shape than QMP's ends the run like any other failure."""
    program, the_facts = PROGRAMS["transactional"]
    outcome, vm = run(program, the_facts, Strike("query-jobs", Returned("nonsense")))
    assert outcome.failure.code == "reply-malformed"
    assert_undone(outcome, vm, the_facts)


def test_what_was_there_before_is_never_touched():
    """Old snapshots, and one of the very tag on a disk that is no part, outlive any failure."""
    old = (held("u", "1"), held("v", "2"))
    the_facts = facts(qcow2("disk0", snapshots=old), qcow2("disk1", snapshots=old),
                      qcow2("other", snapshots=(held("t", "9"),)))  # fmt: skip
    program = plan("transactional", the_facts, whole("disk0", "disk1", others="exclude")).program
    for command in ("snapshot-save", "transaction", "cont"):
        outcome, vm = run(program, the_facts, Strike(command, LOST))
        assert outcome.phase is Phase.UNDONE
        assert [s.id for s in vm.nodes["disk0"]] == [s.id for s in vm.nodes["disk1"]] == ["1", "2"]
        assert [s.id for s in vm.nodes["other"]] == ["9"]


# Undo that does not come to its end


def test_a_part_that_cannot_be_deleted_is_reported_and_the_guest_resumed():
    """Exit 21: what is left is named, and all else is undone."""
    program, the_facts = PROGRAMS["transactional"]
    outcome, vm = run(program, the_facts, Strike("cont", REFUSED, done=False),
                      Strike(DELETE, REFUSED, done=False))  # fmt: skip
    assert outcome.phase is Phase.INCOMPLETE
    assert [problem.code for problem in outcome.left] == ["part-left"]
    assert "injected" in outcome.left[0].message
    assert len(parts_left(vm)) == 1
    assert vm.running
    assert kind_of(outcome) is UndoIncomplete


def test_a_guest_that_cannot_be_resumed_is_reported():
    """Every part is gone, and the VM still is not what it was."""
    program, the_facts = PROGRAMS["transactional"]
    outcome, vm = run(program, the_facts, Strike("transaction", REFUSED, done=False),
                      Strike("cont", REFUSED, done=False))  # fmt: skip
    assert outcome.phase is Phase.INCOMPLETE
    assert [problem.code for problem in outcome.left] == ["run-state-changed"]
    assert parts_left(vm) == []
    assert outcome.run_state == "paused"


@pytest.mark.parametrize("answer", [LOST, LATE])
def test_a_deletion_of_unknown_outcome_is_looked_at(answer):
    """Done or not, it is not sent again blindly; the next look says what is left."""
    program, the_facts = PROGRAMS["monolithic"]
    for done in (True, False):
        outcome, vm = run(
            program,
            the_facts,
            Strike("query-status", REFUSED, done=False),
            Strike(DELETE, answer, done=done),
        )
        assert_undone(outcome, vm, the_facts)


def test_a_vm_that_cannot_be_reached_again_leaves_the_outcome_unknown():
    """Nobody can tell what became of the step, and the error says so."""
    program, the_facts = PROGRAMS["transactional"]
    outcome, _ = run(program, the_facts, Strike(
        "transaction", LOST, before=lambda vm: setattr(vm, "reachable", False)
    ))  # fmt: skip
    assert outcome.phase is Phase.UNKNOWN
    assert outcome.run_state == ""
    with pytest.raises(OutcomeUnknown) as error:
        outcome.raise_failure()
    assert "cannot be asked" in error.value.vm_state
    assert [problem.code for problem in error.value.problems] == ["connection-lost", "vm-silent"]


def test_a_vm_that_answers_nothing_any_more_leaves_the_outcome_unknown():
    """Time-outs prove nothing (fact 38)."""
    program, the_facts = PROGRAMS["transactional"]
    silent = [Strike("query-named-block-nodes", LATE, nth=n) for n in range(1, 9)]
    outcome, _ = run(program, the_facts, Strike("transaction", LATE), *silent)
    assert outcome.phase is Phase.UNKNOWN


# A QEMU that dies


def dies(vm):
    vm.alive = False


@pytest.mark.parametrize("done", [True, False], ids=["after", "before"])
@pytest.mark.parametrize(("name", "command"), EACH_STEP)
def test_the_images_of_a_dead_qemu_are_repaired(name, command, done):
    """Nobody listens any more: parts that are provably ours go from the images, none else."""
    program, the_facts = PROGRAMS[name]
    strike = Strike(command, after=dies) if done else Strike(command, before=dies)
    outcome, vm = run(program, the_facts, strike)
    assert outcome.run_state == "gone"
    assert outcome.phase is Phase.UNDONE
    assert parts_left(vm) == []


def test_an_image_with_two_snapshots_of_the_tag_loses_the_run_s_own():
    """The other one is somebody else's, also where it stands first."""
    program, the_facts = PROGRAMS["monolithic"]

    def twice(vm):
        vm.nodes["disk1"].insert(0, SnapshotInfo("7", "t", date_ns=0))
        vm.alive = False

    outcome, vm = run(program, the_facts, Strike("query-jobs", before=twice))
    assert outcome.phase is Phase.UNDONE
    assert [snapshot.id for snapshot in vm.nodes["disk1"]] == ["7"]
    assert vm.nodes["disk0"] == []


def test_an_image_that_cannot_be_opened_is_reported():
    """Somebody has it open, or it is elsewhere."""
    program, the_facts = PROGRAMS["monolithic"]
    machine = SaveMachine.of(program, baseline_of(the_facts))
    vm = FakeVm.of(the_facts, Strike("snapshot-save", after=dies))
    action = machine.start()
    while not isinstance(action, Outcome):
        answer = vm.answer(action) if type(action).__name__ != "ListImage" else LATE
        action = machine.tell(answer, vm.take_events())
    assert action.phase is Phase.INCOMPLETE
    assert {problem.code for problem in action.left} == {"image-not-repaired"}
    assert {problem.subject for problem in action.left} == set(NAMES)


# The table


def test_the_table_of_phases_is_walked_wholly():
    """Every way in the table is free, every other is refused and changes nothing."""
    for old, new in itertools.product(Phase, Phase):
        context = SaveMachine.of(PROGRAMS["monolithic"][0], baseline_of(VM)).context
        context.phase = old
        if new in TRANSITIONS[old]:
            check_transition(old, new)
            context.go(new)
            assert context.phase is new
        else:
            with pytest.raises(InternalError) as error:
                context.go(new)
            assert error.value.code == "illegal-transition"
            assert context.phase is old
    assert {Phase.DONE, Phase.UNDONE, Phase.INCOMPLETE, Phase.UNKNOWN} == ENDS


def test_runs_walk_every_way_in_the_table():
    """No way in the table is there for nothing."""
    walked = set()

    def record(*arguments):
        seen = [Phase.READY]

        def watch(machine, action):
            del action
            seen.append(machine.context.phase)

        outcome, _ = run(*arguments, watch=watch)
        seen.append(outcome.phase)
        walked.update((a, b) for a, b in itertools.pairwise(seen) if a is not b)

    program, the_facts = PROGRAMS["transactional"]
    record(program, the_facts)
    record(program, the_facts, Strike("transaction", LOST))
    record(program, the_facts, Strike("query-named-block-nodes", REFUSED, done=False))
    record(program, the_facts, Strike("cont", LOST, done=False), Strike(DELETE, REFUSED))
    record(program, the_facts, Strike("cont", REFUSED, done=False),
           Strike("query-status", LOST, nth=2), Strike("query-status", LATE, nth=3),
           *[Strike("query-named-block-nodes", LATE, nth=n) for n in range(2, 9)])  # fmt: skip
    # Ways that are gone within one answer cannot be seen from outside; these must be.
    assert {
        (Phase.READY, Phase.STEPPING),
        (Phase.STEPPING, Phase.CONFIRMING),
        (Phase.STEPPING, Phase.INSPECTING),
        (Phase.CONFIRMING, Phase.INSPECTING),
        (Phase.CONFIRMING, Phase.DONE),
        (Phase.INSPECTING, Phase.UNDOING),
        (Phase.UNDOING, Phase.INSPECTING),
        (Phase.INSPECTING, Phase.UNKNOWN),
        (Phase.RESTORING, Phase.UNDONE),
    } <= walked


def test_a_run_starts_once_and_is_told_only_what_it_asked_for():
    """Starting twice, or telling before starting or nonsense, is refused and changes nothing."""
    program, the_facts = PROGRAMS["monolithic"]
    machine = SaveMachine.of(program, baseline_of(the_facts))
    with pytest.raises(InternalError):
        machine.tell(Returned())
    assert machine.context.phase is Phase.READY
    first = machine.start()
    with pytest.raises(InternalError):
        machine.start()
    with pytest.raises(InternalError):
        machine.tell("nonsense")
    assert machine.context.phase is Phase.STEPPING
    assert isinstance(machine.tell(Returned()), Send)
    assert first.step == 1


def test_a_run_that_ended_is_told_nothing_more():
    """After the end there is nothing to answer, and the end stays."""
    program, the_facts = PROGRAMS["disks only"]
    ended = []

    def watch(machine, action):
        del action
        ended[:] = [machine]

    outcome, _ = run(program, the_facts, watch=watch)
    with pytest.raises(InternalError):
        ended[0].tell(Returned())
    assert ended[0].context.phase is outcome.phase is Phase.DONE


@pytest.mark.parametrize("phase", sorted(ENDS))
def test_every_end_says_what_state_the_vm_is_in(phase):
    """One sentence, whatever the end."""
    outcome = Outcome(phase, "running")
    assert outcome._vm_state().endswith(".")
