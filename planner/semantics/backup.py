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

from planner.semantics.block import content_node, copying, device_of, lookup
from planner.semantics.block_commit_job import block_job_info, verb, with_devices_on
from planner.semantics.job_commands import job_id_problem, job_verb, status_event
from planner.semantics.nodes import COPIES, automatic_name, without_nodes
from planner.semantics.result import (
    NOT_MODELLED,
    CommandResult,
    InjectedFailure,
    MicroStep,
    QmpEvent,
    StepEffect,
)
from planner.semantics.state import Backup, BlockGraph, Job, Node, VmState

__all__ = [
    "BACKUP_STEPS",
    "begin_backup",
    "TWO_COPIES",
    "copied",
    "job_cancel",
    "query_block_jobs",
    "prepare_step",
    "unmodelled",
    "withdraw",
]

_CANCELLED = "Operation canceled"
TWO_COPIES = f"{NOT_MODELLED} two copies of one disk at once"
_STAYS = "stays"
_COPIES = {"blockdev-backup": frozenset(), "drive-backup": frozenset({"format", "mode"})}
_KNOWN = frozenset({"job-id", "device", "target", "sync", "auto-dismiss", "on-cbw-error", "speed"})


def unmodelled(kind: str, data: Mapping[str, Any]) -> str:
    """What of an action this model does not know; empty: it knows all of it."""
    if kind not in _COPIES:
        return ""
    known = _COPIES[kind] | _known(data)
    strange = sorted(set(data) - known)
    if strange:
        return f"{NOT_MODELLED} {kind} with '{strange[0]}'"
    if (sync := data["sync"]) != "full":
        return f"{NOT_MODELLED} {kind} with sync '{sync}'"
    return ""


def _known(data: Mapping[str, Any]) -> frozenset[str]:
    return _KNOWN if data.get("compress") else _KNOWN | {"compress"}  # false is as if left out


def prepare_step(data: Mapping[str, Any], number: int) -> MicroStep:
    """The step of a transaction that prepares a copy."""
    words = [] if data.get("auto-dismiss", True) else [_STAYS]
    words += [str(data["speed"])] if data.get("speed") else []
    return MicroStep(
        "prepare-backup",
        data["device"],
        " ".join(words),
        data.get("job-id", ""),
        data["target"],
        number,
    )


def begin_backup(state: VmState, step: MicroStep) -> tuple[VmState, str, tuple[QmpEvent, ...]]:
    """Put the filter on the disk, and have a job that does nothing yet; or why there is none."""
    source, target = lookup(state, step.node), lookup(state, step.detail)
    for name, node in ((step.node, source), (step.detail, target)):
        if node is None:
            return state, f"Cannot find device='{name}' nor node-name='{name}'", ()
    source, target = cast("Node", source), cast("Node", target)
    if source.name == target.name:
        return state, "Source and target cannot be the same", ()
    name = automatic_name(state.automatic_nodes)
    device = device_of(state, target)
    if device is not None:
        return state, _conflict(name, target.name, device.name or device.qdev), ()
    if busy := _busy(state, source, target):
        return state, busy, ()
    job_id = step.job or _drive_id(state, source)
    problem = job_id_problem(state, job_id)
    if problem:
        return state, problem, ()
    words = step.tag.split()
    backup = Backup(
        source.name,
        target.name,
        name,
        auto_dismiss=_STAYS not in words,
        length_bytes=source.size_bytes,
        speed=next((int(word) for word in words if word != _STAYS), 0),
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
        jobs=(*state.jobs, Job(job_id, "backup", "", (), backup=backup)),
        automatic_nodes=state.automatic_nodes + 1,
    )
    return begun, "", (status_event(job_id, "created"),)


def _drive_id(state: VmState, node: Node) -> str:
    """What a job is called that was given no id: as the ``-drive``, if it is one."""
    device = device_of(state, node)
    return device.name if device is not None else ""


def _conflict(name: str, target: str, device: str) -> str:
    """A device that uses the target keeps it for itself."""
    return (
        f"Could not create node: Permission conflict on node '{target}': permissions 'write' are both "
        f"required by node '{name}' (uses node '{target}' as 'target' child) and unshared by block "
        f"device '{device}' (uses node '{target}' as 'root' child)."
    )


def _busy(state: VmState, source: Node, target: Node) -> str:
    """A target is its job's alone; a disk that is copied twice at once is nothing that this models."""
    targets = {work.target for work in copying(state)}
    parents = state.graph.parents.get(source.name, ())
    if any(role == "backing" for _, role in parents):
        return f"{NOT_MODELLED} a copy of a backing image"
    if any(role == "file" for _, role in parents) and not copied(state, source):
        return f"{NOT_MODELLED} a copy of a node below a filter"
    for node in (source, target):
        if node.name in targets:
            return f"Node '{node.name}' is busy: {COPIES}"
        if copied(state, node):
            return TWO_COPIES
    return ""


def copied(state: VmState, node: Node) -> bool:
    """Whether a node is of a disk that is being copied."""
    return any(node.name in (work.source, work.filter) for work in copying(state))


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
    copy = () if backup.speed else (MicroStep("backup-copy", backup.target, job=job.id),)
    work = (*state.block_work, *copy)
    return StepEffect(evolve(running, block_work=work), (status_event(job.id, "running"),))


def _abort(state: VmState, step: MicroStep, _failure: InjectedFailure | None) -> StepEffect:
    ends = tuple(status_event(step.job, status) for status in ("aborting", "concluded", "null"))
    return StepEffect(withdraw(state, step.job), ends)


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
        ("speed", backup.speed),
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
    bare = with_devices_on(evolve(state, graph=BlockGraph(left)), backup.filter, backup.source)
    return without_nodes(bare, {backup.target}) if backup.made_target else bare


def _job(state: VmState, step: MicroStep) -> tuple[Job, Backup]:
    job = cast("Job", state.job(step.job))
    return job, cast("Backup", job.backup)


def query_block_jobs(state: VmState) -> list[dict[str, object]]:
    """The command `query-block-jobs`: newest first."""
    found = []
    for job in reversed(state.jobs):
        if job.backup is not None:
            found.append(_job_info(job, job.backup))
        elif job.commit is not None:
            found.append(block_job_info(job, job.commit))
    return found


def _job_info(job: Job, backup: Backup) -> dict[str, object]:
    info: dict[str, object] = {
        "auto-finalize": True,
        "io-status": "ok",
        "device": job.id,
        "auto-dismiss": backup.auto_dismiss,
        "busy": False,
        "len": backup.length_bytes,
        "offset": backup.offset_bytes,
        "status": job.status,
        "paused": False,
        "speed": backup.speed,
        "ready": False,
        "type": "backup",
    }
    return {**info, "error": job.error} if job.error else info


BACKUP_STEPS = {"commit-backup": _commit, "abort-backup": _abort, "backup-copy": _copy}
