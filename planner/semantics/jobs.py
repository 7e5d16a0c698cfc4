"""The jobs snapshot-save, snapshot-load and snapshot-delete, as micro-steps.

Theory: QEMU answers ``{}`` as soon as the job exists; the work then runs in the main loop without a
pause, and what comes of it shows only in the job (facts 1, 2).  Here the command creates the job and
queues one micro-step, the check; the check queues the rest.  A step that fails replaces the queue by
what QEMU does then: clean up, resume, abort.  Between any two micro-steps a crash or a fault may
strike; the guest cannot run between them, because QEMU has stopped it.

The order inside a save is the thread's (fact 17): write the vmstate, take the snapshots, and
directly after the one that took the vmstate along, discard it from the active layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from attrs import evolve

from planner.semantics import qcow2
from planner.semantics.block import (
    committing,
    device_or_node_name,
    snapshot_node,
    snapshots_listable,
    with_layer,
)
from planner.semantics.hmp_text import error_text
from planner.semantics.job_checks import devices_problem, load_problem, save_problem
from planner.semantics.job_commands import job_id_problem, status_event
from planner.semantics.qcow2 import Vmstate
from planner.semantics.quirks import Quirk
from planner.semantics.resize import with_size
from planner.semantics.result import CommandResult, InjectedFailure, MicroStep, StepEffect, generic
from planner.semantics.runstate import resume_guest, stop_guest
from planner.semantics.state import Job, Node, VmState
from planner.semantics.vmstate_settings import (
    died_of_multifd,
    forget_error,
    needs,
    read_problem,
    write_problem,
)

__all__ = ["JOB_STEPS", "start_job"]

_MIGRATION_ACTIVE = "There's a migration process in progress"


def start_job(state: VmState, kind: str, arguments: Mapping[str, object]) -> CommandResult:
    """Create a snapshot job; its work is then pending.

    Source: facts 1 to 5.
    """
    job_id = cast("str", arguments["job-id"])
    problem = job_id_problem(state, job_id)
    if problem:
        return CommandResult(state, error=generic(problem))
    job = Job(
        id=job_id,
        type=kind,
        tag=cast("str", arguments["tag"]),
        devices=tuple(cast("list[str]", arguments["devices"])),
        vmstate=cast("str", arguments.get("vmstate", "")),
        status="running",
    )
    queued: tuple[MicroStep, ...] = (
        MicroStep("check-" + kind.removeprefix("snapshot-"), job=job_id),
    )
    if kind == "snapshot-load":
        # the guest is stopped before anything is checked: fact 18 follows from it
        stop = (MicroStep("stop-guest", job=job_id, detail="restore-vm"),) if state.running else ()
        queued = (*stop, *queued)
    events = (status_event(job_id, "created"), status_event(job_id, "running"))
    begun = evolve(state, jobs=(*state.jobs, job), pending=queued)
    return CommandResult(begun, {}, None, events, len(events))


# --- the checks that come first ----------------------------------------


def _check_save(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    job = _job(state, step)
    problem = failure.text if failure else save_problem(state, job)
    if problem:
        return _abort(state, job, problem)
    tag = _stored_tag(state, job.tag)
    queue: list[MicroStep] = []
    if state.running:
        queue.append(MicroStep("stop-guest", job=job.id, detail="save-vm"))
    queue.append(MicroStep("write-vmstate", job.vmstate, job=job.id))
    for number, node in enumerate(job.devices):
        if node == job.vmstate:
            # listed twice, both headers claim the machine state; the first alone still finds it
            queue.append(
                MicroStep("create-snapshot-with-vmstate", node, tag, job.id, number=number)
            )
            queue.append(MicroStep("discard-vmstate", node, tag, job.id, number=number))
        else:
            queue.append(MicroStep("create-snapshot", node, tag, job.id, number=number))
    if state.running:
        queue.append(MicroStep("resume-guest", job=job.id))
    queue.append(MicroStep("conclude-job", job=job.id))
    return StepEffect(evolve(state, pending=tuple(queue)))


def _check_load(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    job = _job(state, step)
    problem = failure.text if failure else load_problem(state, job)
    if problem:
        return _abort_load(state, job, problem)
    queue = [MicroStep("goto-snapshot", node, job.tag, job.id) for node in job.devices]
    queue.append(MicroStep("read-vmstate", job.vmstate, job.tag, job.id))
    if _stopped_for(state, job):
        queue.append(MicroStep("resume-guest", job=job.id))
    queue.append(MicroStep("conclude-job", job=job.id))
    return StepEffect(evolve(state, pending=tuple(queue)))


def _stopped_for(state: VmState, job: Job) -> bool:
    """Whether this job's own first step stopped the guest: it left its mark in the queue."""
    return any(step.job == job.id and step.op == "was-running" for step in state.pending)


def _check_delete(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    job = _job(state, step)
    problem = failure.text if failure else devices_problem(state, job)
    if problem:
        return _abort(state, job, problem)
    queue = [MicroStep("delete-first-match", node, job.tag, job.id) for node in job.devices]
    queue.append(MicroStep("conclude-job", job=job.id))
    return StepEffect(evolve(state, pending=tuple(queue)))


# --- the small operations ----------------------------------------


def _stop(state: VmState, step: MicroStep, _failure: InjectedFailure | None) -> StepEffect:
    done = stop_guest(state, step.detail)
    if step.detail != "restore-vm":
        return done
    mark = MicroStep("was-running", job=step.job)
    return evolve(done, state=evolve(done.state, pending=(*done.state.pending, mark)))


def _write_vmstate(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    job = _job(state, step)
    if state.migration.under_way:
        return _abort(state, job, _MIGRATION_ACTIVE)
    died = died_of_multifd(state)
    if died:
        return StepEffect(evolve(state, died=died, pending=()))
    state = forget_error(state)
    problem = write_problem(state)
    if problem:
        return _abort(state, job, problem)
    node = _image(state, step.node)
    if node.encrypted and state.profile.has(Quirk.VMSTATE_INTO_ENCRYPTED_ABORTS):
        died = "qcow2_co_encdec: Assertion `QEMU_IS_ALIGNED(len, sector_size)' failed."
        return StepEffect(evolve(state, died=died, pending=()))
    if failure:
        # part of it is there, and stays there until the next snapshot with machine state (fact 12)
        return _abort(state, job, f"Error while writing VM state: {failure.text}")
    vmstate = Vmstate(state.machine_version, state.clock_ns, needs(state))
    return StepEffect(with_layer(state, node, qcow2.write_vmstate(node.layer, vmstate)))


def _create(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    node = _image(state, step.node)
    if failure or node.data_file:
        return _abort_create(state, step)
    size = state.profile.vmstate_size_bytes if step.op.endswith("with-vmstate") else 0
    layer, _ = qcow2.create_snapshot(
        node.layer,
        step.tag,
        instant=state.machine_version,
        vm_clock_ns=state.clock_ns,
        vm_state_size_bytes=size,
        date_ns=state.host_ns,
        size_bytes=node.size_bytes,
    )
    return StepEffect(with_layer(state, node, layer))


def _abort_create(state: VmState, step: MicroStep) -> StepEffect:
    job = _job(state, step)
    shown = device_or_node_name(state, _node(state, step.node))
    aborted = _abort(state, job, f"Could not create snapshot '{step.tag}' on '{shown}'").state
    clean_up = tuple(
        MicroStep("clean-up-first-match", node, step.tag, job.id) for node in job.devices
    )
    return StepEffect(evolve(aborted, pending=(*clean_up, *aborted.pending)))


def _discard(state: VmState, step: MicroStep, _failure: InjectedFailure | None) -> StepEffect:
    # a discard that fails is not reported by QEMU: the clusters are leaked, the snapshot is good
    node = _image(state, step.node)
    return StepEffect(with_layer(state, node, qcow2.discard_vmstate(node.layer)))


def _clean_up(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    node = snapshots_listable(state.graph, _node(state, step.node))
    if node is None or failure:
        return StepEffect(state)
    if state.profile.has(Quirk.CLEANUP_DELETES_FIRST_MATCH):
        found = qcow2.find_by_name(node.layer, step.tag)
    else:
        same = [s for s in node.layer.snapshots if s.name == step.tag]
        found = same[-1] if same else None
    if found is None:
        return StepEffect(state)
    return StepEffect(with_layer(state, node, qcow2.delete_snapshot(node.layer, found)))


def _goto(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    job = _job(state, step)
    named = _node(state, step.node)
    node = _image(state, step.node)
    id_first = state.profile.has(Quirk.REVERT_ID_BEFORE_NAME)
    layer = qcow2.goto_snapshot(node.layer, step.tag, id_first=id_first)
    reason = _goto_problem(state, named, failure) or ("" if layer else "No such file or directory")
    if layer is None or reason:
        shown = device_or_node_name(state, named)
        return _abort_load(
            state, job, f"Could not load snapshot '{step.tag}' on '{shown}': {reason}"
        )
    found = qcow2.wanted_snapshot(node.layer, step.tag, id_first=id_first)
    after = with_layer(state, node, layer)
    if found and found.size_bytes:
        after = with_size(after, node, found.size_bytes)
    if named.driver == "throttle" and state.profile.has(Quirk.LOAD_THROUGH_THROTTLE_ABORTS):
        died = "block/throttle.c: throttle_drain_end: Assertion `tgm->io_limits_disabled' failed."
        return StepEffect(evolve(after, died=died, pending=()))
    return StepEffect(after)


def _goto_problem(state: VmState, named: Node, failure: InjectedFailure | None) -> str:
    committed = committing(state, named)
    source = committed.commit.source if committed and committed.commit else ""
    mirrored = named.name == source and state.profile.has(Quirk.COMMIT_BITMAP_STOPS_LOAD)
    if named.bitmaps or mirrored:
        return "Device has active dirty bitmaps"  # found only here, disks before it are reverted
    return failure.text if failure else ""


def _read_vmstate(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    job = _job(state, step)
    died = died_of_multifd(state)
    if died:
        return StepEffect(evolve(state, died=died, pending=()))
    found = _image(state, step.node).layer.vmstate
    problem = read_problem(state, found.needs) if found is not None else ""
    if failure or found is None or problem:
        # the machine was reset before the read, so what was in memory is gone in any case
        version = state.versions_used + 1
        lost = evolve(state, machine_version=version, versions_used=version)
        text = "Error -5 while loading VM state" if failure else state.profile.no_stream_text
        text = problem or text
        return _abort_load(lost, job, text)
    return StepEffect(evolve(state, machine_version=found.machine, clock_ns=found.vm_clock_ns))


def _delete_first(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    node = snapshots_listable(state.graph, _node(state, step.node))
    found = qcow2.find_by_name(node.layer, step.tag) if node else None
    if node is None or found is None:
        return StepEffect(state)  # a tag that the node does not have is no error (fact 22)
    if failure:
        shown = device_or_node_name(state, _node(state, step.node))
        text = f"Could not delete snapshot '{step.tag}' on '{shown}': {failure.text}"
        return _abort(state, _job(state, step), text)
    return StepEffect(with_layer(state, node, qcow2.delete_snapshot(node.layer, found)))


def _resume(state: VmState, _step: MicroStep, _failure: InjectedFailure | None) -> StepEffect:
    return resume_guest(state)


def _forget(state: VmState, _step: MicroStep, _failure: InjectedFailure | None) -> StepEffect:
    return StepEffect(state)


# --- how a job ends ----------------------------------------


def _conclude(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    job = _job(state, step)
    error = failure.text if failure else step.detail
    if not job.id:  # `planner.semantics.hmp`: it answers, and is gone
        left = evolve(state, jobs=tuple(other for other in state.jobs if other.id))
        return StepEffect(left, reply=error_text(error) if error else "")
    ended = state.with_job(evolve(job, status="concluded", error=error))
    statuses = ("aborting", "concluded") if error else ("waiting", "pending", "concluded")
    return StepEffect(ended, tuple(status_event(job.id, status) for status in statuses))


def _abort(state: VmState, job: Job, error: str) -> StepEffect:
    """Replace what the job still had to do by its end; a guest that it stopped is resumed first."""
    queue = [step for step in state.pending if step.op == "resume-guest"]
    queue.append(MicroStep("conclude-job", job=job.id, detail=error))
    return StepEffect(evolve(state, pending=tuple(queue)))


def _abort_load(state: VmState, job: Job, error: str) -> StepEffect:
    """As `_abort`, but QEMU does not resume the guest after a failed load (fact 18)."""
    queue: tuple[MicroStep, ...] = (MicroStep("conclude-job", job=job.id, detail=error),)
    stays = state.profile.has(Quirk.FAILED_LOAD_STAYS_RESTORE_VM)
    stopped = any(step.op in {"resume-guest", "was-running"} for step in state.pending)
    if stopped and not stays:
        queue = (MicroStep("resume-guest", job=job.id), *queue)
    return StepEffect(evolve(state, pending=queue))


def _stored_tag(state: VmState, tag: str) -> str:
    return qcow2.truncated(tag) if state.profile.has(Quirk.TAG_TRUNCATED) else tag


def _job(state: VmState, step: MicroStep) -> Job:
    job = state.job(step.job)
    return job if job is not None else Job(step.job, "snapshot-save", "", ())


def _node(state: VmState, name: str) -> Node:
    return state.graph.node(name)


def _image(state: VmState, name: str) -> Node:
    node = state.graph.node(name)
    return snapshot_node(state.graph, node) or node


JOB_STEPS = {
    "check-save": _check_save,
    "check-load": _check_load,
    "check-delete": _check_delete,
    "stop-guest": _stop,
    "was-running": _forget,
    "write-vmstate": _write_vmstate,
    "create-snapshot": _create,
    "create-snapshot-with-vmstate": _create,
    "discard-vmstate": _discard,
    "clean-up-first-match": _clean_up,
    "goto-snapshot": _goto,
    "read-vmstate": _read_vmstate,
    "delete-first-match": _delete_first,
    "resume-guest": _resume,
    "conclude-job": _conclude,
}
