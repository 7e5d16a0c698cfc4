"""`block-commit` in the semantics and behind a socket, without a real QEMU (fact 55)."""

import asyncio
import socket
from pathlib import Path

import pytest
from attrs import evolve

from backends.simulator import CommandFailed, SimulatedVm, Simulator, parse_faults
from planner.semantics import (
    DiskDescription,
    InjectedFailure,
    advance_background,
    execute,
    guest_step,
    run_background,
    vm_state,
)

VERSIONS = ("7.2", "10.0", "11.1")
FILE = {"driver": "file", "filename": "/over.qcow2"}
ADD = {"driver": "qcow2", "node-name": "over", "file": FILE, "backing": None}


def done(state, command, **arguments):
    given = {key.replace("_", "-"): value for key, value in arguments.items()}
    result = execute(state, command, given)
    assert result.error is None, result.error
    return result.state


def overlaid(version="7.2"):
    """A VM whose raw disk has an overlay that the guest has written to."""
    state = vm_state(version, ["disk0", DiskDescription("raw0", "raw")])
    state = execute(state, "blockdev-add", ADD).state
    return guest_step(done(guest_step(state), "blockdev-snapshot", node="raw0", overlay="over"))


def committing(version="7.2", **arguments):
    return done(overlaid(version), "block-commit", job_id="undo", device="over", **arguments)


def content(state, node):
    return state.graph.node(node).layer.content


def test_commit_gives_the_base_what_the_guest_wrote():
    """The base holds what the overlay held, at the moment of the change of places, and goes on."""
    ready = run_background(committing()).state
    moved = guest_step(ready)
    ended = run_background(done(moved, "job-complete", id="undo")).state
    assert content(ended, "raw0") == content(moved, "over") > content(overlaid(), "raw0")
    assert ended.jobs == ()
    assert content(guest_step(ended), "raw0") > content(ended, "raw0")
    assert ended.graph.get("over").backing == "raw0"


def test_commit_is_not_completed_before_it_is_ready():
    """Until BLOCK_JOB_READY `job-complete` is refused, and the copy goes on."""
    error = execute(committing(), "job-complete", {"id": "undo"}).error
    assert error.desc == "Job 'undo' in state 'running' cannot accept command verb 'complete'"


@pytest.mark.parametrize("version", VERSIONS)
def test_commit_that_cannot_write_leaves_the_overlay(version):
    """The job fails, says so, and the disk stays where it was; 7.2 leaves the base writable."""
    failed = advance_background(
        committing(version, auto_dismiss=False), InjectedFailure("No space")
    )
    names = [event.name for event in failed.events]
    assert names[0] == "BLOCK_JOB_ERROR"
    assert failed.state.job("undo").error == "No space"
    assert failed.state.devices == overlaid(version).devices
    assert failed.state.graph.node("raw0").read_only == (version != "7.2")
    assert failed.state.block_work == ()


@pytest.mark.parametrize("version", VERSIONS)
def test_migration_fails_while_a_commit_goes_on(version):
    """The job keeps its nodes writable, so that the migration cannot make them inactive."""
    ready = run_background(committing(version)).state
    ended = run_background(done(ready, "migrate", uri="exec:cat")).state
    assert ended.migration.status == "failed"
    assert ended.running
    assert ended.graph.node("over").active


@pytest.mark.parametrize("version", VERSIONS)
def test_inactive_nodes_are_not_committed(version):
    """After a migration `cont` (or `blockdev-set-active`) must come first."""
    state = run_background(done(overlaid(version), "migrate", uri="exec:cat")).state
    assert execute(state, "block-commit", {"job-id": "undo", "device": "over"}).error
    assert (
        execute(done(state, "cont"), "block-commit", {"job-id": "u", "device": "over"}).error
        is None
    )


def test_unforced_cancel_of_a_ready_commit_keeps_the_overlay_in_place():
    """`block-job-cancel` then is a success that changes nothing above."""
    ready = run_background(committing()).state
    ended = done(ready, "block-job-cancel", device="undo")
    assert ended.devices == overlaid().devices
    forced = execute(ready, "block-job-cancel", {"device": "undo", "force": True})
    assert "BLOCK_JOB_CANCELLED" in [event.name for event in forced.events]


def test_deleting_a_spare_overlay_leaves_a_drives_node():
    """The base of an undone overlay belongs to its drive, whoever else used it."""
    state = vm_state("7.2", ["disk0", DiskDescription("drv0", "drive")])
    state = execute(state, "blockdev-add", ADD).state
    state = done(state, "blockdev-snapshot", node="drv0", overlay="over")
    state = run_background(done(state, "block-commit", device="drv0")).state
    state = run_background(done(state, "job-complete", id="drv0")).state
    left = done(state, "blockdev-del", node_name="over")
    assert all(left.graph.get(device.node) for device in left.devices)


def test_fault_rules_strike_a_commit():
    """A write error at the copy's step ends the job of a simulated VM."""
    rules = parse_faults([{"fault": "write-error", "step": "block-commit-copy"}])
    vm = SimulatedVm(evolve(overlaid()), faults=rules)
    vm.execute("block-commit", {"job-id": "undo", "device": "over", "auto-dismiss": False})
    vm.idle()
    [job] = vm.execute("query-jobs")
    assert (job["status"], job["error"]) == ("concluded", "Input/output error")
    with pytest.raises(CommandFailed, match="cannot accept command verb 'complete'"):
        vm.execute("job-complete", {"id": "undo"})


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_descriptors_come_over_a_unix_socket(tmp_path):
    """`getfd` takes the descriptor that was sent with it, once; over TCP none can come."""

    async def talk(client, line, fds=()):
        loop = asyncio.get_running_loop()
        socket.send_fds(client, [line], list(fds)) if fds else await loop.sock_sendall(client, line)
        return await asyncio.wait_for(loop.sock_recv(client, 65536), 10)

    async def session(client):
        client.setblocking(False)
        await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 65536), 10)
        await talk(client, b'{"execute": "qmp_capabilities"}\n')

    async def main():
        getfd = b'{"execute": "getfd", "arguments": {"fdname": "f"}}\n'
        refused = b"No file descriptor supplied via SCM_RIGHTS"
        async with Simulator(vm_state("7.2")) as simulator:
            path = simulator.listen(tmp_path / "qmp")
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                await session(client)
                before = open_descriptors()
                assert refused in await talk(client, getfd)
                assert b'"return"' in await talk(client, getfd, [client.fileno()])
                assert refused in await talk(client, getfd)
                assert open_descriptors() == before
            host, port = simulator.listen_tcp()
            with socket.create_connection((host, port)) as client:
                await session(client)
                assert refused in await talk(client, getfd)

    asyncio.run(main())


def test_an_image_that_is_opened_again_has_the_snapshots_that_it_had():
    """A deleted node takes its image's snapshots with it, and its next node brings them back."""
    saved = done(overlaid(), "blockdev-snapshot-internal-sync", device="over", name="kept")
    ended = run_background(done(saved, "block-commit", job_id="undo", device="over")).state
    ended = run_background(done(ended, "job-complete", id="undo")).state
    gone = done(ended, "blockdev-del", node_name="over")
    assert gone.graph.get("over") is None
    again = execute(gone, "blockdev-add", ADD).state
    assert [snapshot.name for snapshot in again.graph.node("over").layer.snapshots] == ["kept"]
    other = execute(gone, "blockdev-add", ADD | {"file": FILE | {"filename": "/other"}}).state
    assert other.graph.node("over").layer.snapshots == ()


def test_an_overlay_that_a_device_reads_through_another_is_in_use():
    """QEMU asks whether anyone reads it before it looks at what backs it."""
    more = ADD | {"node-name": "upper", "file": FILE | {"filename": "/upper.qcow2"}}
    state = execute(overlaid(), "blockdev-add", more).state
    state = done(state, "blockdev-snapshot", node="over", overlay="upper")
    found = execute(state, "blockdev-snapshot", {"node": "disk0", "overlay": "over"})
    assert found.error.desc == "The overlay is already in use"


def test_an_overlay_that_is_being_committed_is_not_read_by_its_device():
    """The job's filter asks for no consistent reads below it; what backs the overlay is said first."""
    found = execute(committing(), "blockdev-snapshot", {"node": "disk0", "overlay": "over"})
    assert found.error.desc == "The overlay already has a backing image"
