"""Fault rules: what they are checked for, and what each does to a VM in process."""

import json
import random

import pytest

from backends.simulator import (
    CommandFailed,
    SimulatedVm,
    VmUnreachable,
    load_faults,
    parse_faults,
)
from planner.errors import BadInput
from planner.semantics import lookup, vm_state

SAVE = {"job-id": "j", "tag": "t", "vmstate": "disk0", "devices": ["disk0", "disk1"]}
ACTIONS = [
    {"type": "blockdev-snapshot-internal-sync", "data": {"device": d, "name": "t"}}
    for d in ("disk0", "disk1")
]


def simulated(*rules, seed=0, version="7.2"):
    state = vm_state(version, ["disk0", "disk1"])
    return SimulatedVm(state, faults=parse_faults(list(rules)), seed=seed)


def tags(vm, name):
    return [s.name for s in lookup(vm.state, name).layer.snapshots]


def names(vm):
    return [e.get("data", {}).get("status", e["event"]) for e in vm.events]


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({"fault": "nonsense", "command": "stop"}, "fault must be one of"),
        ({"fault": "die"}, "needs either `command` or `step`"),
        ({"fault": "die", "command": "stop", "step": "stop-guest"}, "needs either"),
        ({"fault": "die", "step": "nonsense"}, "unknown step"),
        ({"fault": "write-error", "command": "stop"}, "strikes at a `step`"),
        ({"fault": "write-error", "step": "stop-guest"}, "cannot strike at 'stop-guest'"),
        ({"fault": "drop-after", "step": "write-vmstate"}, "strikes at a `command`"),
        ({"fault": "foreign-command", "step": "write-vmstate"}, "cannot strike at"),
        ({"fault": "die", "command": "stop", "nth": 0}, "nth must be a whole number from 1"),
        ({"fault": "die", "command": "stop", "colour": 1}, "unknown key 'colour'"),
        ({"fault": "slow-reply", "command": "stop", "delay-s": -1}, "delay-s must be seconds"),
        ({"fault": "die", "command": "two words"}, "is no command name"),
        ({"fault": "foreign-command", "command": "stop", "foreign": 3}, "foreign must be"),
        ("text", "must be a mapping"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_the_reason(rule, why):
    with pytest.raises(BadInput, match="rule 2") as caught:
        parse_faults([{"fault": "die", "command": "stop"}, rule])
    assert why in caught.value.message


def test_rules_come_from_yaml_and_json_files_alike(tmp_path):
    rules = [{"fault": "slow-reply", "command": "*", "delay-s": 0.5, "nth": 2, "times": 0}]
    (tmp_path / "f.json").write_text(json.dumps(rules))
    (tmp_path / "f.yaml").write_text(
        '- {fault: slow-reply, command: "*", delay-s: 0.5, nth: 2, times: 0}'
    )
    assert load_faults(tmp_path / "f.json") == load_faults(tmp_path / "f.yaml")
    with pytest.raises(BadInput):
        load_faults(tmp_path / "missing")
    (tmp_path / "bad.yaml").write_text("{")
    with pytest.raises(BadInput):
        load_faults(tmp_path / "bad.yaml")


def test_an_error_reply_has_no_effect():
    vm = simulated({"fault": "error-reply", "command": "transaction", "error": "no"})
    with pytest.raises(CommandFailed, match="no"):
        vm.execute("transaction", {"actions": ACTIONS})
    assert tags(vm, "disk0") == []
    vm.execute("transaction", {"actions": ACTIONS})  # the second is not struck
    assert tags(vm, "disk0") == ["t"]


def test_nth_and_times_say_which_matches_are_struck():
    vm = simulated({"fault": "error-reply", "command": "stop", "nth": 2, "times": 2})
    outcomes = []
    for _ in range(4):
        try:
            vm.execute("stop")
            outcomes.append("done")
        except CommandFailed:
            outcomes.append("struck")
    assert outcomes == ["done", "struck", "struck", "done"]


@pytest.mark.parametrize(("fault", "effect"), [("drop-before", []), ("drop-after", ["t"])])
def test_a_dropped_connection_before_or_after_the_effect(fault, effect):
    vm = simulated({"fault": fault, "command": "transaction"})
    with pytest.raises(VmUnreachable):
        vm.execute("transaction", {"actions": ACTIONS})
    assert tags(vm, "disk0") == tags(vm, "disk1") == effect
    assert vm.execute("query-status")["running"]


@pytest.mark.parametrize("fault", ["no-reply", "garbage-reply", "oversized-reply"])
def test_an_unusable_reply_comes_after_the_effect(fault):
    vm = simulated({"fault": fault, "command": "transaction", "size-bytes": 1000})
    with pytest.raises(VmUnreachable):
        vm.execute("transaction", {"actions": ACTIONS})
    assert tags(vm, "disk0") == ["t"]


def test_a_write_error_in_the_vmstate_fails_the_job_and_leaves_nothing():
    vm = simulated({"fault": "write-error", "step": "write-vmstate", "node": "disk0"})
    vm.execute("snapshot-save", SAVE)
    job = vm.execute("query-jobs")[0]
    assert job["error"] == "Error while writing VM state: Input/output error"
    assert tags(vm, "disk0") == tags(vm, "disk1") == []
    assert names(vm)[-2:] == ["aborting", "concluded"]


def test_a_write_error_in_a_transaction_undoes_all_of_it():
    vm = simulated({"fault": "write-error", "step": "prepare-internal", "node": "disk1"})
    with pytest.raises(CommandFailed, match="Failed to create snapshot 't' on device 'disk1'"):
        vm.execute("transaction", {"actions": ACTIONS})
    assert tags(vm, "disk0") == tags(vm, "disk1") == []


def test_a_job_error_fails_a_job_that_did_everything():
    vm = simulated({"fault": "job-error", "step": "conclude-job", "error": "late"})
    vm.execute("snapshot-save", SAVE)
    assert vm.execute("query-jobs")[0]["error"] == "late"
    assert tags(vm, "disk0") == ["t"]


@pytest.mark.parametrize(
    ("step", "left"),
    [
        ("write-vmstate", ([], [])),
        ("discard-vmstate", (["t"], [])),
        ("create-snapshot", (["t"], [])),
        ("resume-guest", (["t"], ["t"])),
    ],
)
def test_qemu_dies_between_two_micro_steps(step, left):
    vm = simulated({"fault": "die", "step": step})
    with pytest.raises(VmUnreachable):
        vm.execute("snapshot-save", SAVE)
    assert vm.dead
    assert (tags(vm, "disk0"), tags(vm, "disk1")) == left
    with pytest.raises(VmUnreachable):
        vm.execute("query-status")


def test_a_stall_holds_events_back_and_not_the_replies():
    vm = simulated({"fault": "stall", "command": "snapshot-save", "delay-s": 0.004})
    vm.execute("snapshot-save", SAVE)
    assert names(vm) == []
    for _ in range(5):
        vm.execute("query-jobs")
    vm.idle()
    assert names(vm)[-1] == "concluded"


def test_a_stall_without_an_end_never_ends():
    vm = simulated({"fault": "stall", "command": "stop", "delay-s": 0})
    vm.execute("stop")
    for _ in range(100):
        vm.execute("query-status")
    vm.idle()
    assert names(vm) == []


def test_a_foreign_command_runs_after_ours_and_its_events_show():
    rule = {"fault": "foreign-command", "command": "stop", "foreign": {"execute": "cont"}}
    vm = simulated(rule)
    vm.execute("stop")
    assert names(vm) == ["STOP", "RESUME"]
    assert vm.execute("query-status")["running"]


def test_a_migration_goes_on_by_itself_and_can_fail():
    vm = simulated({"fault": "write-error", "step": "migration-complete", "error": "No space"})
    on = [{"capability": "events", "state": True}]
    vm.execute("migrate-set-capabilities", {"capabilities": on})
    vm.execute("migrate", {"uri": "exec:cat"})
    vm.idle()
    assert vm.execute("query-migrate")["error-desc"] == "No space"
    assert vm.execute("query-status")["running"]


@pytest.mark.parametrize("seed", range(20))
def test_a_seed_replays_a_run(seed):
    def session(seed):
        vm = simulated(seed=seed, version="10.0")
        draw = random.Random(seed)
        said = []
        for number in range(20):
            name = draw.choice(("stop", "cont", "snapshot-save", "query-status", "migrate"))
            arguments = {"migrate": {"uri": "file:/x"}}.get(name, {})
            if name == "snapshot-save":
                arguments = {**SAVE, "job-id": f"j{number}", "tag": f"t{number}"}
            said.append(vm.handle(name, arguments))
        return said, vm.state

    assert session(seed) == session(seed)


def test_the_reply_of_a_job_comes_before_or_after_what_the_job_does():
    places = set()
    for seed in range(20):
        delivery = simulated(seed=seed).handle("snapshot-save", SAVE)
        places.add(len(delivery.before))
    assert places == {2, 4}  # after created, running; or after STOP, RESUME too (fact 4)


@pytest.mark.parametrize(("limit", "ends"), [(4096, False), (1, True), (10**8, True)])
def test_facts_37_and_53_a_small_bandwidth_keeps_a_migration_from_its_end(limit, ends):
    vm = simulated()
    vm.execute("migrate-set-parameters", {"max-bandwidth": limit})
    vm.execute("migrate", {"uri": "exec:cat"})
    vm.idle()
    assert (vm.execute("query-migrate")["status"] == "completed") is ends
