"""The job of a `block-commit` once it is begun: it copies, is completed or cancelled, and is shown.

It works beside the main loop; see `planner.semantics.block_commit` for the theory and the facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from attrs import evolve

from planner.semantics.block import content_node
from planner.semantics.job_commands import job_verb, status_event
from planner.semantics.overlay import set_read_only
from planner.semantics.quirks import Quirk
from planner.semantics.result import (
    CommandResult,
    InjectedFailure,
    MicroStep,
    QmpError,
    QmpEvent,
    StepEffect,
)
from planner.semantics.state import BlockGraph, Commit, Job, VmState

__all__ = ["verb", "block_job_verb", "block_job_info", "BLOCK_COMMIT_STEPS"]


_CANCELLED = "Operation canceled"


def with_devices_on(state: VmState, old: str, new: str) -> VmState:
    devices = tuple(evolve(d, node=new) if d.node == old else d for d in state.devices)
    return evolve(state, devices=devices)


def _copy(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    job, commit = _job(state, step)
    if failure:
        return _write_failed(state, job, failure)
    copied = _with_copy(state, commit)
    ready = copied.with_job(evolve(job, status="ready", commit=_done(commit)))
    events = (status_event(job.id, "ready"), _event("BLOCK_JOB_READY", job.id, _done(commit)))
    return StepEffect(ready, events)


def _complete(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    job, commit = _job(state, step)
    if failure:
        return _write_failed(state, job, failure)
    copied = _with_copy(state, commit)
    pending = copied.with_job(evolve(job, status="pending"))
    events = tuple(status_event(job.id, status) for status in ("waiting", "pending"))
    if commit.auto_finalize:
        return _after(events, _finalize(pending, job))
    return StepEffect(pending, (*events, _pending_event(job)))


def _done(commit: Commit) -> Commit:
    return evolve(commit, offset_bytes=commit.length_bytes)


def _pending_event(job: Job) -> QmpEvent:
    return QmpEvent("BLOCK_JOB_PENDING", (("type", "commit"), ("id", job.id)))


def _with_copy(state: VmState, commit: Commit) -> VmState:
    """The base reads as the overlay does; its own snapshots are as they were."""
    source = content_node(state.graph, state.graph.node(commit.source))
    target = content_node(state.graph, state.graph.node(commit.target))
    layer = evolve(target.layer, content=source.layer.content)
    return state.with_nodes(evolve(target, layer=layer))


def _write_failed(state: VmState, job: Job, failure: InjectedFailure) -> StepEffect:
    data = (("device", job.id), ("operation", "write"), ("action", "report"))
    return _after((QmpEvent("BLOCK_JOB_ERROR", data),), _abort(state, job, failure.text))


def _finalize(state: VmState, job: Job) -> StepEffect:
    """The base takes the overlay's place."""
    commit = cast("Commit", job.commit)
    moved = with_devices_on(_without_filter(state, commit), commit.filter, commit.target)
    return _conclude(moved, job, "BLOCK_JOB_COMPLETED", "")


def _abort(state: VmState, job: Job, error: str) -> StepEffect:
    """The overlay stays where it is; 7.2 forgets to make the base read-only again."""
    commit = cast("Commit", job.commit)
    back = with_devices_on(_without_filter(state, commit), commit.filter, commit.source)
    forgets = state.profile.has(Quirk.COMMIT_FAILURE_LEAVES_BASE_WRITABLE)
    if commit.base_was_read_only and not forgets:
        back = set_read_only(back, commit.target, read_only=True)
    name = "BLOCK_JOB_CANCELLED" if error == _CANCELLED else "BLOCK_JOB_COMPLETED"
    return _after((status_event(job.id, "aborting"),), _conclude(back, job, name, error))


def _without_filter(state: VmState, commit: Commit) -> VmState:
    left = tuple(node for node in state.graph.nodes if node.name != commit.filter)
    return evolve(state, graph=BlockGraph(left))


def _conclude(state: VmState, job: Job, event: str, error: str) -> StepEffect:
    commit = cast("Commit", job.commit)
    shown = "" if event == "BLOCK_JOB_CANCELLED" else error
    events = (_event(event, job.id, commit, shown), status_event(job.id, "concluded"))
    work = tuple(step for step in state.block_work if step.job != job.id)
    ended = evolve(state.with_job(evolve(job, status="concluded", error=error)), block_work=work)
    if not commit.auto_dismiss:
        return StepEffect(ended, events)
    jobs = tuple(other for other in ended.jobs if other.id != job.id)
    return StepEffect(evolve(ended, jobs=jobs), (*events, status_event(job.id, "null")))


def _event(name: str, job_id: str, commit: Commit, error: str = "") -> QmpEvent:
    data: tuple[tuple[str, str | int | bool], ...] = (
        ("device", job_id),
        ("len", commit.length_bytes),
        ("offset", commit.offset_bytes),
        ("speed", commit.speed),
        ("type", "commit"),
    )
    return QmpEvent(name, (*data, ("error", error)) if error else data)


def _after(events: tuple[QmpEvent, ...], done: StepEffect) -> StepEffect:
    return evolve(done, events=events + done.events)


def _job(state: VmState, step: MicroStep) -> tuple[Job, Commit]:
    job = cast("Job", state.job(step.job))
    return job, cast("Commit", job.commit)


_ALLOWED = {
    "complete": frozenset({"ready"}),
    "finalize": frozenset({"pending"}),
    "cancel": frozenset({"running", "ready", "pending"}),
}


def verb(state: VmState, arguments: Mapping[str, object], name: str) -> CommandResult:
    """`job-complete`, `job-finalize` and `job-cancel`: a commit takes them, a snapshot job none."""
    job = state.job(cast("str", arguments["id"]))
    if job is None or job.commit is None or job.status not in _ALLOWED.get(name, ()):
        return job_verb(state, arguments, name)
    if name == "complete":
        step = MicroStep("block-commit-complete", job.commit.target, job=job.id)
        queued = step in state.block_work
        return CommandResult(
            state if queued else evolve(state, block_work=(*state.block_work, step)), {}
        )
    done = _finalize(state, job) if name == "finalize" else _abort(state, job, _CANCELLED)
    return CommandResult(done.state, {}, None, done.events, len(done.events))


def block_job_verb(state: VmState, arguments: Mapping[str, Any], name: str) -> CommandResult:
    """The older commands `block-job-…`: the same for block jobs alone.

    `block-job-cancel` of a job that is ready ends it without putting the base in the place of the
    overlay, and calls that a success, unless it is forced.
    """
    job_id = cast("str", arguments["device" if name in {"complete", "cancel"} else "id"])
    job = state.job(job_id)
    if job is None or job.commit is None:
        return CommandResult(
            state, error=QmpError("DeviceNotActive", f"Block job '{job_id}' not found")
        )
    if name == "cancel" and job.status == "ready" and not arguments.get("force"):
        done = _leave(state, job)
        return CommandResult(done.state, {}, None, done.events, len(done.events))
    return verb(state, {"id": job_id}, name)


def _leave(state: VmState, job: Job) -> StepEffect:
    commit = cast("Commit", job.commit)
    events = tuple(status_event(job.id, status) for status in ("waiting", "pending"))
    back = with_devices_on(_without_filter(state, commit), commit.filter, commit.source)
    return _after(events, _conclude(back, job, "BLOCK_JOB_COMPLETED", ""))


def block_job_info(job: Job, commit: Commit) -> dict[str, object]:
    """What `query-block-jobs` shows of a commit."""
    info: dict[str, object] = {
        "auto-finalize": commit.auto_finalize,
        "io-status": "ok",
        "device": job.id,
        "auto-dismiss": commit.auto_dismiss,
        "busy": False,
        "len": commit.length_bytes,
        "offset": commit.offset_bytes,
        "status": job.status,
        "paused": job.status == "pending",
        "speed": commit.speed,
        "ready": job.status == "ready",
        "type": "commit",
    }
    return {**info, "error": job.error} if job.error else info


BLOCK_COMMIT_STEPS = {"block-commit-copy": _copy, "block-commit-complete": _complete}
