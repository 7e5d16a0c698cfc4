"""Each rule of the semantics, in the words of the fact that it comes from."""

import pytest
from attrs import evolve

from planner.errors import BadInput, InternalError
from planner.model.facts import SnapshotInfo
from planner.semantics import (
    DiskDescription,
    InjectedFailure,
    Quirk,
    advance,
    advance_background,
    execute,
    guest_step,
    lookup,
    micro_steps,
    run_background,
    snapshot_node,
    start,
    state_from_queries,
    vm_state,
    waits_for_continue,
)

VERSIONS = ("7.2", "10.0", "11.1")


def vm(*disks, **options):
    return vm_state(options.pop("version", "7.2"), disks or ("disk0", "disk1"), **options)


def job_arguments(tag="t", devices=("disk0", "disk1"), vmstate=None, job_id="j"):
    return {
        "job-id": job_id,
        "tag": tag,
        "vmstate": vmstate or devices[0] if devices else "disk0",
        "devices": list(devices),
    }


def save(state, tag="t", devices=("disk0", "disk1"), vmstate=None, job_id="j"):
    """Save and dismiss; the job's error, or an empty text."""
    return run_job(state, "snapshot-save", job_arguments(tag, devices, vmstate, job_id))


def load(state, tag="t", devices=("disk0", "disk1"), vmstate=None):
    return run_job(state, "snapshot-load", job_arguments(tag, devices, vmstate))


def delete(state, tag="t", devices=("disk0", "disk1")):
    arguments = job_arguments(tag, devices)
    del arguments["vmstate"]
    return run_job(state, "snapshot-delete", arguments)


def run_job(state, command, arguments):
    result = execute(state, command, arguments)
    assert result.error is None, result.error
    error = result.state.job(arguments["job-id"]).error
    return execute(result.state, "job-dismiss", {"id": arguments["job-id"]}).state, error


def layer(state, name):
    return snapshot_node(state.graph, lookup(state, name)).layer


def tags(state, name):
    return [(s.id, s.name) for s in layer(state, name).snapshots]


def internal(device, name):
    return {"type": "blockdev-snapshot-internal-sync", "data": {"device": device, "name": name}}


def transaction(state, *actions):
    return execute(state, "transaction", {"actions": list(actions)})


def statuses(result):
    return [dict(e.data).get("status", e.name) for e in result.events]


# --- saving -------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_a_save_of_a_running_vm_shows_the_events_of_fact_4(version):
    result = execute(vm(version=version), "snapshot-save", job_arguments())
    expected = ["created", "running", "STOP", "RESUME", "waiting", "pending", "concluded"]
    assert statuses(result) == expected
    assert result.reply == {}
    assert result.state.running


def test_a_save_of_a_stopped_vm_neither_stops_nor_resumes_it():
    stopped = execute(vm(), "stop").state
    result = execute(stopped, "snapshot-save", job_arguments())
    assert "STOP" not in statuses(result)
    assert result.state.run_state == "paused"


def test_the_vmstate_is_written_then_shared_then_discarded():
    names = [str(trace.step) for trace in micro_steps(vm(), "snapshot-save", job_arguments())]
    assert names == [
        "snapshot-save",
        "check-save",
        "stop-guest",
        "write-vmstate disk0",
        "create-snapshot-with-vmstate disk0 't'",
        "discard-vmstate disk0 't'",
        "create-snapshot disk1 't'",
        "resume-guest",
        "conclude-job",
    ]


def test_every_part_of_a_save_is_of_one_instant_and_only_one_holds_the_machine():
    state, error = save(guest_step(vm()))
    assert error == ""
    first, second = layer(state, "disk0").snapshots[0], layer(state, "disk1").snapshots[0]
    assert first.instant == second.instant == state.machine_version
    assert first.vmstate.machine == first.instant
    assert second.vmstate is None
    assert (first.vm_state_size_bytes > 0, second.vm_state_size_bytes) == (True, 0)
    assert layer(state, "disk0").vmstate is None


@pytest.mark.parametrize(
    ("devices", "vmstate", "text"),
    [
        ((), "disk0", "At least one device is required for snapshot"),
        (("nope",), "nope", "No block device node 'nope'"),
        (("disk1",), "disk0", "vmstate block device 'disk0' does not exist"),
        (("raw0",), "raw0", "Device 'raw0' is writable but does not support snapshots"),
        (("ro0",), "ro0", "Device 'ro0' is writable but does not support snapshots"),
        (("b0-backing",), "b0-backing", "Device 'b0-backing' is writable but does not"),
        (("drv0",), "drv0", "No block device node 'drv0'"),
    ],
)
def test_what_a_save_refuses_shows_only_in_the_job(devices, vmstate, text):
    disks = [
        "disk0",
        "disk1",
        DiskDescription("raw0", "raw"),
        DiskDescription("ro0", "read-only"),
        DiskDescription("b0", "backing"),
        DiskDescription("drv0", "drive"),
    ]
    before = vm(*disks)
    result = execute(before, "snapshot-save", job_arguments("t", devices, vmstate))
    assert result.reply == {}
    assert statuses(result) == ["created", "running", "aborting", "concluded"]
    assert result.state.job("j").error.startswith(text)
    assert result.state.graph == before.graph


@pytest.mark.parametrize("job_id", ["", "1a", "a b", "ä", "_x"])
def test_a_malformed_job_id_is_refused_at_once(job_id):
    result = execute(vm(), "snapshot-save", job_arguments(job_id=job_id))
    assert result.error.desc == f"Invalid job ID '{job_id}'"


def test_a_job_id_is_taken_until_it_is_dismissed():
    state = execute(vm(), "snapshot-save", job_arguments()).state
    assert execute(state, "snapshot-save", job_arguments("u")).error.desc == (
        "Job ID 'j' already in use"
    )
    state = execute(state, "job-dismiss", {"id": "j"}).state
    assert execute(state, "job-dismiss", {"id": "j"}).error.desc == "Job not found"


def test_fact_7_a_save_over_some_disks_that_have_the_tag_makes_duplicates():
    state, _ = save(vm(), devices=("disk0",))
    state, error = save(state)
    assert error == ""
    assert tags(state, "disk0") == [("1", "t"), ("2", "t")]
    _, error = save(state)
    assert error == "Snapshot 't' already exists in one or more devices"


def test_fact_7_the_clean_up_destroys_the_old_snapshot():
    disks = ("disk0", DiskDescription("df0", "data-file"))
    state, _ = save(vm(*disks), devices=("disk0",))
    state, error = save(state, devices=("disk0", "df0"))
    assert error == "Could not create snapshot 't' on 'df0'"
    assert tags(state, "disk0") == [("2", "t")]


def test_without_that_quirk_the_new_one_would_go():
    disks = ("disk0", DiskDescription("df0", "data-file"))
    start_state = vm(*disks)
    mended = evolve(
        start_state, profile=start_state.profile.without(Quirk.CLEANUP_DELETES_FIRST_MATCH)
    )
    state, _ = save(mended, devices=("disk0",))
    state, _ = save(state, devices=("disk0", "df0"))
    assert tags(state, "disk0") == [("1", "t")]


def test_fact_8_a_long_tag_is_cut_and_cannot_be_loaded_by_its_name():
    state, _ = save(vm(), tag="x" * 300)
    assert layer(state, "disk0").snapshots[0].name == "x" * 255
    assert "does not exist" in load(state, tag="x" * 300)[1]


def test_fact_12_a_write_error_fails_the_job_and_resumes_the_guest():
    state = start(vm(), "snapshot-save", job_arguments()).state
    while state.pending[0].op != "write-vmstate":
        state = advance(state).state
    failed = advance(state, InjectedFailure())
    state = failed.state
    while state.pending:
        state = advance(state).state
    assert state.running
    assert state.job("j").error == "Error while writing VM state: Input/output error"
    assert tags(state, "disk0") == []


def test_a_vmstate_node_listed_twice_claims_the_machine_state_twice_and_has_it_once():
    state, _ = save(vm(), devices=("disk0", "disk0"))
    first, second = layer(state, "disk0").snapshots
    assert first.vm_state_size_bytes == second.vm_state_size_bytes > 0
    assert first.vmstate is not None
    assert second.vmstate is None


def test_a_filter_and_its_child_snapshot_the_child_twice():
    state, _ = save(vm(DiskDescription("thr0", "throttle")), devices=("thr0", "thr0-format"))
    assert tags(state, "thr0") == [("1", "t"), ("2", "t")]


def test_a_migration_blocker_fails_a_save():
    _, error = save(vm(blocked_reasons=("VFIO is here",)))
    assert error == "VFIO is here"


# --- loading and deleting --------------------------------------------------------------


def test_a_load_brings_back_memory_and_disks():
    saved, _ = save(guest_step(vm()))
    later = guest_step(guest_step(saved))
    back, error = load(later)
    assert error == ""
    assert back.machine_version == saved.machine_version
    assert layer(back, "disk1").content == layer(saved, "disk1").content
    assert back.running
    assert guest_step(back).machine_version > later.machine_version  # a new history, not the old


@pytest.mark.parametrize("version", VERSIONS)
def test_fact_18_a_failed_load_leaves_a_running_vm_in_restore_vm(version):
    result = execute(vm(version=version), "snapshot-load", job_arguments("nope"))
    assert statuses(result) == ["created", "running", "STOP", "aborting", "concluded"]
    assert result.state.run_state == "restore-vm"
    assert execute(result.state, "cont").state.running


def test_fact_9_the_revert_takes_a_tag_for_an_id_first():
    state, _ = save(vm("disk0"), tag="2", devices=("disk0",))
    old = layer(state, "disk0").content
    state, _ = save(guest_step(state), tag="x", devices=("disk0",))
    new = layer(state, "disk0").content
    back, error = load(guest_step(state), tag="2", devices=("disk0",))
    assert error == ""
    assert old != new
    assert layer(back, "disk0").content == new  # that of `x`, whose id is 2


def test_fact_21_a_part_without_machine_state_cannot_be_loaded():
    state = transaction(vm(), internal("disk0", "t"), internal("disk1", "t")).state
    assert load(state)[1] == "This is a disk-only snapshot. Revert to it  offline using qemu-img"


def test_fact_22_a_delete_removes_one_duplicate_per_call_and_minds_no_missing_tag():
    state, _ = save(vm("disk0"), devices=("disk0", "disk0"))
    state, error = delete(state, devices=("disk0",))
    assert (tags(state, "disk0"), error) == ([("2", "t")], "")
    assert delete(state, tag="nope", devices=("disk0",))[1] == ""


def test_fact_22_the_other_delete_takes_id_and_name_and_tells_what_it_deleted():
    state, _ = save(vm("disk0"), devices=("disk0", "disk0"))
    name = "blockdev-snapshot-delete-internal-sync"
    result = execute(state, name, {"device": "disk0", "id": "2", "name": "t"})
    assert (result.reply["id"], result.reply["name"]) == ("2", "t")
    wrong = execute(result.state, name, {"device": "disk0", "id": "2"})
    assert wrong.error.desc == (
        "Snapshot with id '2' and name 'null' does not exist on device 'disk0'"
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_fact_35_a_delete_on_an_inactive_node_kills_qemu(version):
    state, _ = save(vm(version=version))
    state = run_background(execute(state, "migrate", {"uri": "exec:cat"}).state).state
    name = "blockdev-snapshot-delete-internal-sync"
    result = execute(state, name, {"device": "disk0", "name": "t"})
    assert "BDRV_O_INACTIVE" in result.state.died
    assert (result.reply, result.error) == (None, None)


@pytest.mark.parametrize(("version", "dies"), [("7.2", False), ("10.0", True), ("11.1", True)])
def test_a_load_through_a_throttle_node_kills_newer_qemus(version, dies):
    state, _ = save(vm(DiskDescription("thr0", "throttle"), version=version), devices=("thr0",))
    result = execute(state, "snapshot-load", job_arguments(devices=("thr0",)))
    assert bool(result.state.died) is dies


# --- transactions ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (internal("disk1", "old"), "Snapshot with name 'old' already exists on device 'disk1'"),
        (
            internal("raw0", "t"),
            "Block format 'raw' used by device 'raw0' does not support internal snapshots",
        ),
        (internal("ro0", "t"), "Device 'ro0' is read only"),
        (internal("nope", "t"), "Cannot find device='nope' nor node-name='nope'"),
        (internal("thr0-format", "t"), "Need a root block node"),
        (internal("df0", "t"), "Failed to get a snapshot list: Operation not supported"),
        (internal("disk0", ""), "Name is empty"),
        ({"type": "abort", "data": {}}, "Transaction aborted using Abort action"),
    ],
)
def test_fact_25_a_transaction_that_fails_changes_nothing(action, text):
    old = (SnapshotInfo("1", "old", vm_clock_ns=5),)
    state = vm(
        "disk0",
        DiskDescription("disk1", snapshots=old),
        DiskDescription("raw0", "raw"),
        DiskDescription("ro0", "read-only"),
        DiskDescription("thr0", "throttle"),
        DiskDescription("df0", "data-file"),
    )
    result = transaction(state, internal("disk0", "t"), action)
    assert result.error.desc == text
    assert result.state == state


def test_a_transaction_is_prepared_in_order_and_aborted_in_reverse():
    actions = [internal("disk0", "t"), internal("disk1", "t"), {"type": "abort", "data": {}}]
    ops = [str(t.step) for t in micro_steps(vm(), "transaction", {"actions": actions})]
    assert ops == [
        "transaction",
        "prepare-internal disk0 't'",
        "prepare-internal disk1 't'",
        "prepare-abort",
        "abort-internal disk1 't'",
        "abort-internal disk0 't'",
        "answer-transaction 'GenericError'",
    ]


def test_a_drained_disk_is_not_written_while_the_transaction_goes_on():
    actions = [internal("disk0", "t"), internal("disk1", "t")]
    state = start(vm(), "transaction", {"actions": actions}).state
    state = advance(state).state
    before = layer(state, "disk0").content
    state = guest_step(state)
    assert layer(state, "disk0").content == before
    assert layer(state, "disk1").content == state.machine_version


def overlay_added(state, name="ov"):
    file = {"driver": "file", "filename": f"/images/{name}.qcow2"}
    arguments = {"driver": "qcow2", "node-name": name, "file": file, "backing": None}
    result = execute(state, "blockdev-add", arguments)
    assert result.error is None, result.error
    return result.state


def put(overlay, node):
    return {"type": "blockdev-snapshot", "data": {"node": node, "overlay": overlay}}


def test_an_overlay_takes_the_devices_and_makes_the_node_below_read_only():
    state = overlay_added(vm("disk0", DiskDescription("raw0", "raw")))
    state = transaction(state, put("ov", "raw0"), internal("disk0", "t")).state
    part = lookup(state, "raw0")
    assert part.read_only
    assert [device.node for device in state.devices] == ["disk0", "ov"]
    kept = part.layer.content
    moved = guest_step(state)
    assert lookup(moved, "raw0").layer.content == kept
    assert lookup(moved, "ov").layer.content == moved.machine_version


def test_an_overlay_is_taken_off_again_when_the_transaction_fails():
    state = overlay_added(vm("disk0", DiskDescription("raw0", "raw")))
    result = transaction(state, put("ov", "raw0"), {"type": "abort", "data": {}})
    assert result.state == state


def sync(name, **data):
    named = {"snapshot-node-name": name} if name else {}
    return {"type": "blockdev-snapshot-sync", "data": {"snapshot-file": "/o", **named, **data}}


def test_an_overlay_that_qemu_makes_itself_is_put_on_as_one_that_was_added():
    """Its node is QEMU's own, as large as what it lies on, and that is read-only from then on."""
    state = transaction(vm("disk0"), sync("ov", **{"node-name": "disk0"})).state
    assert [device.node for device in state.devices] == ["ov"]
    assert (lookup(state, "ov").backing, lookup(state, "ov").owned) == ("disk0", False)
    assert lookup(state, "disk0").read_only


def test_an_overlay_that_qemu_made_is_closed_again_when_the_transaction_fails():
    """No node is left; the file is (fact 26), which is not the model's."""
    state = vm("disk0")
    abort = {"type": "abort", "data": {}}
    after = transaction(state, sync("ov", **{"node-name": "disk0"}), abort).state
    assert after.graph == state.graph


def test_what_the_model_does_not_know_it_refuses_honestly():
    backup = {"device": "disk0", "target": "/copy", "sync": "full", "bitmap": "b"}
    result = transaction(vm(), {"type": "drive-backup", "data": backup})
    assert result.error.desc.startswith("the simulator does not model")
    copies = [
        {"type": "drive-backup", "data": {"device": f"disk{n}", "target": f"/{n}", "sync": "full"}}
        for n in (0, 1)
    ]
    grouped = {"actions": copies, "properties": {"completion-mode": "grouped"}}
    assert execute(vm(), "transaction", grouped).error.desc.startswith("the simulator does")
    mirror = {"device": "disk0", "target": "/copy", "sync": "full"}
    assert execute(vm(), "drive-mirror", mirror).error.desc.startswith("the simulator does")


# --- migration ------------------------------------------------------------------------


def migrated(state, *capabilities):
    on = [{"capability": name, "state": True} for name in ("events", *capabilities)]
    state = execute(state, "migrate-set-capabilities", {"capabilities": on}).state
    return execute(state, "migrate", {"uri": "exec:cat > f"}).state


@pytest.mark.parametrize("version", VERSIONS)
def test_fact_29_nodes_are_inactive_after_a_migration_and_cont_makes_them_active(version):
    state = run_background(migrated(vm(version=version))).state
    assert state.run_state == "postmigrate"
    refused = transaction(state, internal("disk0", "t"))
    assert refused.error.desc.endswith("does not support internal snapshots")
    state = execute(state, "cont").state
    assert transaction(state, internal("disk0", "t")).reply == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_fact_30_pre_switchover_is_one_instant_for_disks_and_memory(version):
    begun = run_background(migrated(guest_step(vm(version=version)), "pause-before-switchover"))
    state = begun.state
    assert waits_for_continue(state)
    assert (state.run_state, state.migration.status) == ("finish-migrate", "pre-switchover")
    assert execute(state, "cont").error.desc == "Migration is not finalized yet"
    state = transaction(state, internal("disk0", "t")).state
    state = execute(state, "migrate-continue", {"state": "pre-switchover"}).state
    state = run_background(state).state
    assert state.streams[-1].machine == layer(state, "disk0").snapshots[0].instant
    assert state.run_state == "postmigrate"


def test_fact_36_no_second_migration_in_postmigrate():
    state = run_background(migrated(vm())).state
    refused = execute(state, "migrate", {"uri": "exec:cat"})
    assert refused.error.desc == ("Can't migrate the vm that was paused due to previous migration")


def test_fact_34_a_save_during_a_migration_is_a_job_error():
    _, error = save(advance_background(migrated(vm())).state)
    assert error == "There's a migration process in progress"


@pytest.mark.parametrize(("version", "after"), [("7.2", "postmigrate"), ("10.0", "paused")])
def test_a_cancelled_migration_of_a_paused_vm(version, after):
    paused = execute(vm(version=version), "stop").state
    state = run_background(migrated(paused, "pause-before-switchover")).state
    state = run_background(execute(state, "migrate_cancel").state).state
    assert state.run_state == after


@pytest.mark.parametrize("version", ["10.0", "11.1"])
def test_fact_40_cont_before_the_tracking_saves_a_later_instant(version):
    stopped = execute(vm(version=version), "stop").state
    state = advance_background(migrated(stopped, "background-snapshot")).state
    state = transaction(state, internal("disk0", "t")).state
    state = guest_step(execute(state, "cont").state)
    state = run_background(state).state
    assert state.streams[-1].machine != layer(state, "disk0").snapshots[0].instant


@pytest.mark.parametrize("version", ["10.0", "11.1"])
def test_fact_40_a_guest_that_was_let_run_too_early_is_stopped_once_more(version):
    stopped = execute(vm(version=version), "stop").state
    state = advance_background(migrated(stopped, "background-snapshot")).state
    after = advance_background(execute(state, "cont").state)
    assert [event.name for event in after.events] == ["STOP"]
    assert not after.state.running
    assert run_background(after.state).state.running


@pytest.mark.parametrize("version", ["10.0", "11.1"])
def test_fact_39_the_tracking_shows_in_query_migrate_and_fixes_the_instant(version):
    state = migrated(execute(vm(version=version), "stop").state, "background-snapshot")

    def pages(at):
        return execute(at, "query-migrate").reply.get("ram", {}).get("normal", 0)

    while not pages(state):
        state = advance_background(state).state
    state = transaction(state, internal("disk0", "t")).state
    state = guest_step(execute(state, "cont").state)
    state = run_background(state).state
    assert state.streams[-1].machine == layer(state, "disk0").snapshots[0].instant
    assert state.running


def test_fact_41_7_2_resumes_by_itself_and_freezes_after_a_failure():
    stopped = execute(vm(), "stop").state
    begun = migrated(stopped, "background-snapshot")
    assert run_background(begun).state.running
    state = begun
    while not state.migration.tracking:
        state = advance_background(state).state
    state = run_background(execute(state, "migrate_cancel").state).state
    resumed = execute(state, "cont").state
    assert guest_step(resumed) == resumed


def test_the_statuses_of_a_migration_differ_between_versions():
    seen = {}
    for version in VERSIONS:
        begun = migrated(vm(version=version))
        seen[version] = [dict(e.data).get("status", e.name) for e in run_background(begun).events]
    assert seen["7.2"] == ["active", "STOP", "completed"]
    assert seen["10.0"] == seen["11.1"] == ["active", "STOP", "device", "completed"]


# --- arguments, replies, construction -----------------------------------------------------


@pytest.mark.parametrize(
    ("command", "arguments", "text"),
    [
        ("snapshot-save", {}, "Parameter 'job-id' is missing"),
        ("snapshot-save", {"job-id": 1}, "Invalid parameter type for 'job-id', expected: string"),
        (
            "snapshot-delete",
            {"job-id": "a", "tag": "t", "devices": [1]},
            "Invalid parameter type for 'devices[0]', expected: string",
        ),
        ("query-status", {"a": 1}, "Parameter 'a' is unexpected"),
        (
            "transaction",
            {"actions": [{"type": "x", "data": {}}]},
            "Parameter 'type' does not accept value 'x'",
        ),
        ("transaction", {"actions": [{"data": {}}]}, "Parameter 'actions[0].type' is missing"),
        (
            "transaction",
            {"actions": [internal("disk0", 1)]},
            "Invalid parameter type for 'actions[0].data.name', expected: string",
        ),
        ("stop", {"x": None}, "Parameter 'x' is unexpected"),
    ],
)
def test_bad_arguments_are_refused_in_qemus_words(command, arguments, text):
    result = execute(vm(), command, arguments)
    assert (result.error.error_class, result.error.desc) == ("GenericError", text)


def test_a_command_that_this_qemu_lacks_is_not_found():
    error = execute(vm(), "blockdev-set-active", {"active": True}).error
    assert error.error_class == "CommandNotFound"
    assert error.desc == "The command blockdev-set-active has not been found"
    assert execute(vm(version="10.0"), "blockdev-set-active", {"active": True}).error is None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_state_made_from_its_own_replies_gives_the_same_replies(version):
    kinds = ("qcow2", "raw", "read-only", "backing", "throttle", "data-file", "drive")
    disks = [DiskDescription(f"d{n}", kind) for n, kind in enumerate(kinds)]
    state, _ = save(vm(*disks, version=version), devices=("d0", "d3", "d4"))
    queries = {
        "query-block": {},
        "query-named-block-nodes": {"flat": True},
        "query-status": {},
        "query-version": {},
        "query-jobs": {},
        "x-debug-query-block-graph": {},
    }
    recorded = {name: execute(state, name, given).reply for name, given in queries.items()}
    again = state_from_queries(recorded)
    for name in ("query-block", "query-status", "query-named-block-nodes"):
        assert execute(again, name, queries[name]).reply == recorded[name]
    del recorded["x-debug-query-block-graph"]
    guessed = state_from_queries(recorded)
    assert execute(guessed, "query-block").reply == recorded["query-block"]


def test_what_cannot_be_simulated_is_refused():
    with pytest.raises(BadInput):
        vm_state("2.0", ["disk0"])
    with pytest.raises(BadInput):
        vm_state("7.2", [DiskDescription("d", "floppy")])
    with pytest.raises(BadInput):
        state_from_queries({})


def test_a_busy_or_dead_qemu_takes_no_command():
    busy = start(vm(), "snapshot-save", job_arguments()).state
    with pytest.raises(InternalError):
        start(busy, "query-status")
    with pytest.raises(InternalError):
        start(execute(vm(), "quit").state, "query-status")
    with pytest.raises(InternalError):
        advance(vm())
    with pytest.raises(InternalError):
        advance_background(vm())


# --- images -------------------------------------------------------------------------------


def test_a_new_id_is_one_more_than_the_largest_so_the_last_one_comes_again():
    state = vm("disk0")
    for tag in ("a", "b", "c"):
        state = transaction(state, internal("disk0", tag)).state
    state, _ = delete(state, tag="b", devices=("disk0",))
    state = transaction(state, internal("disk0", "d")).state
    assert tags(state, "disk0") == [("1", "a"), ("3", "c"), ("4", "d")]
    state, _ = delete(state, tag="d", devices=("disk0",))
    state = transaction(state, internal("disk0", "e")).state
    assert tags(state, "disk0")[-1] == ("4", "e")


def test_an_overlay_reads_as_the_node_below_it_and_that_is_no_root_any_more():
    state = overlay_added(guest_step(vm("disk0")))
    content = layer(state, "disk0").content
    state = transaction(state, put("ov", "disk0")).state
    assert lookup(state, "ov").layer.content == content
    refused = transaction(state, internal("disk0", "t"))
    assert refused.error.desc == "Need a root block node"
    assert transaction(state, internal("ov", "t")).reply == {}


@pytest.mark.parametrize("persistent", [True, False])
def test_fact_20_a_bitmap_on_the_second_disk_leaves_disks_of_two_instants(persistent):
    state, _ = save(guest_step(vm()))
    saved = layer(state, "disk0").content
    state = guest_step(state)
    arguments = {"node": "disk1", "name": "b", "persistent": persistent}
    state = execute(state, "block-dirty-bitmap-add", arguments).state
    after, error = load(state)
    assert error == "Could not load snapshot 't' on 'disk1': Device has active dirty bitmaps"
    assert layer(after, "disk0").content == saved
    assert layer(after, "disk1").content == layer(state, "disk1").content
    assert execute(after, "cont").state.running


def test_bitmaps_are_added_and_removed_once():
    state = execute(vm(), "block-dirty-bitmap-add", {"node": "disk0", "name": "b"}).state
    again = execute(state, "block-dirty-bitmap-add", {"node": "disk0", "name": "b"})
    assert again.error.desc == "Bitmap already exists: b"
    state = execute(state, "block-dirty-bitmap-remove", {"node": "disk0", "name": "b"}).state
    gone = execute(state, "block-dirty-bitmap-remove", {"node": "disk0", "name": "b"})
    assert gone.error.desc == "Dirty bitmap 'b' not found"


def test_fact_34_no_device_is_plugged_during_a_migration():
    state = advance_background(migrated(vm())).state
    error = execute(state, "device_add", {"driver": "virtio-blk-pci", "drive": "x"}).error
    assert error.desc == "device_add not allowed while migrating"
