"""`blockdev-backup` in the semantics, and a run with a copy on the simulated VM (facts 111 and 112)."""

import pytest

from planner.semantics import (
    InjectedFailure,
    advance_background,
    execute,
    guest_step,
    run_background,
    vm_state,
)

FILE = {"driver": "file", "filename": "/copy.qcow2"}
ADD = {"driver": "qcow2", "node-name": "copy", "file": FILE}
VERSIONS = ("7.2", "10.0", "11.1")


def begun(version="7.2", *more, **data):
    """A VM whose guest has written, and of which disk0 is being copied."""
    state = execute(guest_step(vm_state(version, ["disk0", "disk1"])), "blockdev-add", ADD).state
    told = {
        "job-id": "j",
        "device": "disk0",
        "target": "copy",
        "sync": "full",
        "auto-dismiss": False,
    }
    action = {"type": "blockdev-backup", "data": told | data}
    return execute(state, "transaction", {"actions": [action, *more]})


def content(state, node):
    return state.graph.node(node).layer.content


@pytest.mark.parametrize("version", VERSIONS)
def test_the_copy_is_of_the_instant_of_its_transaction(version):
    """What the guest writes meanwhile is on its disk, and not in the copy."""
    state = begun(version).state
    at = content(state, "disk0")
    moved = guest_step(state)
    assert content(moved, "disk0") > at
    done = run_background(moved)
    assert content(done.state, "copy") == at
    assert content(guest_step(done.state), "disk0") > content(moved, "disk0")
    assert done.state.job("j").status == "concluded"
    assert done.state.devices[0].node == "disk0"
    assert [event.name for event in done.events][2:] == ["BLOCK_JOB_COMPLETED", "JOB_STATUS_CHANGE"]


def test_nobody_else_gets_at_the_disk_meanwhile():
    """As fact 112 has it, in QEMU's words."""
    state = begun().state
    snapshot = {"device": "disk0", "name": "a"}
    refused = execute(state, "blockdev-snapshot-internal-sync", snapshot).error
    assert refused.desc == "Need a root block node"
    busy = "Node 'copy' is busy: block device is in use by block job: backup"
    assert execute(state, "blockdev-del", {"node-name": "copy"}).error.desc == busy
    words = "Job 'j' in state 'running' cannot accept command verb 'complete'"
    assert execute(state, "job-complete", {"id": "j"}).error.desc == words


def test_a_cancelled_copy_leaves_the_disk_as_it_was():
    """It says so, and its node can go."""
    ended = execute(begun().state, "job-cancel", {"id": "j"})
    assert "BLOCK_JOB_CANCELLED" in [event.name for event in ended.events]
    assert ended.state.job("j").error == "Operation canceled"
    assert ended.state.devices == vm_state("7.2", ["disk0", "disk1"]).devices
    assert ended.state.block_work == ()
    dismissed = execute(ended.state, "job-dismiss", {"id": "j"}).state
    assert execute(dismissed, "blockdev-del", {"node-name": "copy"}).error is None


def test_a_copy_that_cannot_be_written_fails():
    """The job has the error, and the disk goes on."""
    failed = advance_background(begun().state, InjectedFailure("No space"))
    assert failed.state.job("j").error == "No space"
    assert failed.events[0].name == "BLOCK_JOB_ERROR"
    assert failed.state.devices[0].node == "disk0"


@pytest.mark.parametrize("more", [{"type": "abort", "data": {}}])
def test_an_aborted_transaction_begins_no_copy(more):
    """All or nothing: no job, no filter."""
    result = begun("7.2", more)
    assert result.error is not None
    assert result.state.jobs == ()
    assert result.state.devices[0].node == "disk0"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_migration_fails_while_a_disk_is_copied(version):
    """The job keeps its nodes writable: so no stream goes with a copy."""
    state = begun(version).state
    migrating = execute(state, "migrate", {"uri": "exec:cat"}).state
    for _ in range(50):
        if migrating.migration.status in ("failed", "completed"):
            break
        step = next(s for s in (migrating.background or (None,)))
        assert step is not None
        work, rest = migrating.block_work, migrating
        from attrs import evolve

        rest = advance_background(evolve(rest, block_work=())).state
        migrating = evolve(rest, block_work=work)
    assert migrating.migration.status == "failed"


def test_a_target_is_not_resized_while_it_is_copied_to():
    """Since 10 the refusal says what keeps it busy."""
    said = {
        version: execute(
            begun(version).state, "block_resize", {"node-name": "copy", "size": 2**25}
        ).error.desc
        for version in ("7.2", "11.1")
    }
    assert said["7.2"] == "Device '(null)' is in use"
    assert said["11.1"] == "Node 'copy' is busy: block device is in use by block job: backup"


@pytest.mark.parametrize(
    ("version", "said"), [("7.2", "Cannot find device"), ("11.1", "Action 'abort'")]
)
def test_grouped_is_refused_before_anything_is_looked_at(version, said):
    """7.2 looks at each action when it is its turn, and lets `abort` be (seen in lockstep)."""
    copy = {"job-id": "b", "device": "disk0", "target": "nowhere", "sync": "full"}
    actions = [{"type": "blockdev-backup", "data": copy}, {"type": "abort", "data": {}}]
    arguments = {"actions": actions, "properties": {"completion-mode": "grouped"}}
    assert said in execute(begun(version).state, "transaction", arguments).error.desc


def test_what_is_not_modelled_is_refused():
    """Honestly, with nothing done."""
    result = begun(sync="top")
    assert "simulator" in result.error.desc
    assert result.state.jobs == ()
