"""`blockdev-backup` of a whole disk: how it is copied as it was at one instant, while the guest goes on.

Theory: the action of a transaction puts a filter (`copy-before-write`) on the disk; from its commit on
the job copies, beside the main loop, what the disk held then.  When it has, the filter goes, and the
target holds that content.  Meanwhile neither the disk's node nor the target takes another block command.

Rules: measured on 7.2, 10.0 and 11.1 (facts 111 to 113).  That a target which fails makes the guest's
write fail (fact 113) is not modelled: the guest here has no write under way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from attrs import evolve

from planner.semantics.block import content_node, lookup
from planner.semantics.block_commit_job import verb, with_devices_on
from planner.semantics.job_commands import job_id_problem, job_verb, status_event
from planner.semantics.nodes import automatic_name
from planner.semantics.result import (
    CommandResult,
    InjectedFailure,
    MicroStep,
    QmpEvent,
    StepEffect,
)
from planner.semantics.state import Backup, BlockGraph, Job, Node, VmState

__all__ = ["BACKUP_STEPS", "begin_backup", "job_cancel", "prepare_step", "unmodelled", "withdraw"]

_CANCELLED = "Operation canceled"
_KNOWN = frozenset({"job-id", "device", "target", "sync", "auto-dismiss", "on-cbw-error"})


def unmodelled(data: Mapping[str, Any]) -> str:
    """What of an action this model does not know; empty: it knows all of it."""
    strange = sorted(set(data) - _KNOWN)
    if strange:
        return f"the simulator does not model blockdev-backup with '{strange[0]}'"
    if data["sync"] != "full" or "job-id" not in data:
        return "the simulator models blockdev-backup with sync 'full' and a job-id only"
    return ""


def prepare_step(data: Mapping[str, Any], number: int) -> MicroStep:
    """The step of a transaction that prepares a copy."""
    stays = "" if data.get("auto-dismiss", True) else "stays"
    return MicroStep(
        "prepare-backup", data["device"], stays, data["job-id"], data["target"], number
    )


def begin_backup(state: VmState, step: MicroStep) -> tuple[VmState, str, tuple[QmpEvent, ...]]:
    """Put the filter on the disk, and have a job that does nothing yet; or why there is none."""
    source, target = lookup(state, step.node), lookup(state, step.detail)
    for name, node in ((step.node, source), (step.detail, target)):
        if node is None:
            return state, f"Cannot find device='{name}' nor node-name='{name}'", ()
    source, target = cast("Node", source), cast("Node", target)
    for node in (source, target):
        if busy := _busy(state, node):
            return state, busy, ()
    problem = job_id_problem(state, step.job)
    if problem:
        return state, problem, ()
    name = automatic_name(state.automatic_nodes)
    backup = Backup(
        source.name, target.name, name, auto_dismiss=not step.tag, length_bytes=source.size_bytes
    )
    top = Node(
        name=name,
        driver="copy-before-write",
        filename=source.filename,
        size_bytes=source.size_bytes,
        file=source.name,
        owned=False,
    )
    moved = with_devices_on(state, source.name, name)
    begun = evolve(
        moved,
        graph=BlockGraph((*moved.graph.nodes, top)),
        jobs=(*state.jobs, Job(step.job, "backup", "", (), backup=backup)),
        automatic_nodes=state.automatic_nodes + 1,
    )
    return begun, "", (status_event(step.job, "created"),)


def _busy(state: VmState, node: Node) -> str:
    used = [
        job.backup
        for job in state.jobs
        if job.backup is not None
        and job.status != "concluded"
        and node.name in (job.backup.source, job.backup.target, job.backup.filter)
    ]
    return (
        f"Node '{node.name}' is busy: block device is in use by block job: backup" if used else ""
    )


def withdraw(state: VmState, job_id: str) -> VmState:
    """As if the job had never been: its transaction is aborted."""
    job = cast("Job", state.job(job_id))
    bare = _without_filter(state, cast("Backup", job.backup))
    return evolve(bare, jobs=tuple(other for other in bare.jobs if other.id != job_id))


def _commit(state: VmState, step: MicroStep, _failure: InjectedFailure | None) -> StepEffect:
    job, backup = _job(state, step)
    source = content_node(state.graph, state.graph.node(backup.source))
    backup = evolve(backup, content=source.layer.content)
    running = state.with_job(evolve(job, status="running", backup=backup))
    work = (*state.block_work, MicroStep("backup-copy", backup.target, job=job.id))
    return StepEffect(evolve(running, block_work=work), (status_event(job.id, "running"),))


def _abort(state: VmState, step: MicroStep, _failure: InjectedFailure | None) -> StepEffect:
    return StepEffect(withdraw(state, step.job), (status_event(step.job, "null"),))


def _copy(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    job, backup = _job(state, step)
    if failure:
        data = (("device", job.id), ("operation", "write"), ("action", "report"))
        failed = (QmpEvent("BLOCK_JOB_ERROR", data), status_event(job.id, "aborting"))
        ended = _conclude(state, job, "BLOCK_JOB_COMPLETED", failure.text)
        return evolve(ended, events=(*failed, *ended.events))
    target = content_node(state.graph, state.graph.node(backup.target))
    copied = state.with_nodes(evolve(target, layer=evolve(target.layer, content=backup.content)))
    events = tuple(status_event(job.id, status) for status in ("waiting", "pending"))
    done = evolve(job, backup=evolve(backup, offset_bytes=backup.length_bytes))
    ended = _conclude(copied, done, "BLOCK_JOB_COMPLETED", "")
    return evolve(ended, events=(*events, *ended.events))


def job_cancel(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """`job-cancel`: a copy ends, and its target holds nothing that can be relied on."""
    job = state.job(cast("str", arguments["id"]))
    if job is None or job.backup is None:
        return verb(state, arguments, "cancel")
    if job.status != "running":
        return job_verb(state, arguments, "cancel")
    ended = _conclude(state, job, "BLOCK_JOB_CANCELLED", _CANCELLED)
    events = (status_event(job.id, "aborting"), *ended.events)
    return CommandResult(ended.state, {}, None, events, len(events))


def _conclude(state: VmState, job: Job, event: str, error: str) -> StepEffect:
    backup = cast("Backup", job.backup)
    data: tuple[tuple[str, str | int | bool], ...] = (
        ("device", job.id),
        ("len", backup.length_bytes),
        ("offset", backup.offset_bytes),
        ("speed", 0),
        ("type", "backup"),
    )
    shown = error if event == "BLOCK_JOB_COMPLETED" else ""
    told = QmpEvent(event, (*data, ("error", shown)) if shown else data)
    bare = _without_filter(state, backup)
    work = tuple(step for step in bare.block_work if step.job != job.id)
    ended = evolve(bare.with_job(evolve(job, status="concluded", error=error)), block_work=work)
    events = (told, status_event(job.id, "concluded"))
    if not backup.auto_dismiss:
        return StepEffect(ended, events)
    jobs = tuple(other for other in ended.jobs if other.id != job.id)
    return StepEffect(evolve(ended, jobs=jobs), (*events, status_event(job.id, "null")))


def _without_filter(state: VmState, backup: Backup) -> VmState:
    left = tuple(node for node in state.graph.nodes if node.name != backup.filter)
    return with_devices_on(evolve(state, graph=BlockGraph(left)), backup.filter, backup.source)


def _job(state: VmState, step: MicroStep) -> tuple[Job, Backup]:
    job = cast("Job", state.job(step.job))
    return job, cast("Backup", job.backup)


BACKUP_STEPS = {"commit-backup": _commit, "abort-backup": _abort, "backup-copy": _copy}
