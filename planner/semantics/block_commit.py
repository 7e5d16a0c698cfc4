"""`block-commit` of the active layer: how an overlay is undone while the guest runs.

Theory: the job copies what the overlay holds into its base, keeps the two alike (`ready`), and when
it is told to complete, puts the base in the overlay's place; the overlay stays as a node that nobody
uses.  It works beside the main loop, so its micro-steps wait in `state.block_work`.  Meanwhile a
filter (`mirror_top`) stands on the overlay, and the three nodes take no other block command.

Rules: measured on 7.2, 10.0 and 11.1 (fact 55).  A base under a filter loses the filter unless
``base-node`` names it.  What was copied stays copied: a base whose commit failed or was cancelled is
no longer what it was, though the overlay on it still reads right.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any, cast

from attrs import evolve

from planner.semantics.block import content_node, device_of, is_root, lookup
from planner.semantics.job_commands import job_id_problem, job_verb, status_event
from planner.semantics.overlay import automatic_name, name_problem, set_read_only
from planner.semantics.quirks import Quirk
from planner.semantics.result import (
    CommandResult,
    InjectedFailure,
    MicroStep,
    QmpError,
    QmpEvent,
    StepEffect,
    generic,
)
from planner.semantics.state import BlockGraph, Commit, Job, Node, VmState

__all__ = ["BLOCK_COMMIT_STEPS", "block_commit", "block_job_verb", "query_block_jobs", "verb"]

_CLUSTER_BYTES = 65536
_INNER = "the simulator does not model block-commit of an inner node"
_CANCELLED = "Operation canceled"
_CREATED_AND_GONE = ("created", "null")


def block_commit(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """The command `block-commit`, of the active layer only; what follows runs in the background.

    Source: fact 55.
    """
    source, error = _source(state, cast("str", arguments["device"]))
    if error or source is None:
        return CommandResult(state, error=error)
    target, problem = _target(state, source, arguments)
    if target is None or problem:
        return CommandResult(state, error=generic(problem))
    job_id = cast("str", arguments.get("job-id", _device_name(state, source)))
    name = cast("str", arguments.get("filter-node-name", automatic_name(state.automatic_nodes)))
    problem = _start_problem(state, source, job_id, name)
    if problem:
        return CommandResult(state, error=generic(problem))
    problem = _late_problem(state, source, target, arguments)
    if problem:
        events = tuple(status_event(job_id, status) for status in _CREATED_AND_GONE)
        return CommandResult(state, None, generic(problem), events, len(events))
    commit = _commit_of(state, source, target, name, arguments)
    begun = _begin(state, source, job_id, commit, named="filter-node-name" in arguments)
    events = tuple(status_event(job_id, status) for status in ("created", "running"))
    return CommandResult(begun, {}, None, events, len(events))


def _source(state: VmState, name: str) -> tuple[Node | None, QmpError | None]:
    node = lookup(state, name)
    if node is None:
        return None, QmpError("DeviceNotFound", f"Device '{name}' not found")
    if not is_root(state, node):
        return None, generic("Need a root block node")
    return node, None


def _device_name(state: VmState, node: Node) -> str:
    device = device_of(state, node)
    return device.name if device else ""


def _target(
    state: VmState, source: Node, arguments: Mapping[str, object]
) -> tuple[Node | None, str]:
    top, problem = _named(state, source, "top", arguments)
    if problem:
        return None, problem
    base, problem = _named(state, top or source, "base", arguments)
    if problem:
        return None, problem
    chain = _chain(state, top or source)
    base = base or content_node(state.graph, chain[-1])
    if base.name == (top or source).name:
        return None, "cannot commit an image into itself"
    if top is not None and top.name != source.name:
        return None, _INNER
    if "backing-file" in arguments:
        return None, "'backing-file' specified, but 'top' is the active layer"
    if content_node(state.graph, base).name == content_node(state.graph, source).name:
        return None, "Can't mirror node into itself"
    return base, ""


def _named(
    state: VmState, above: Node, role: str, arguments: Mapping[str, object]
) -> tuple[Node | None, str]:
    """The node that ``top``, ``top-node``, ``base`` or ``base-node`` names in a chain."""
    by_node, by_file = arguments.get(f"{role}-node"), arguments.get(role)
    if by_node is not None and by_file is not None:
        return None, f"'{role}-node' and '{role}' are mutually exclusive"
    chain = _chain(state, above)
    if by_node is not None:
        node = state.graph.get(cast("str", by_node))
        if node is None:
            return None, f"Cannot find device='' nor node-name='{by_node}'"
        inside = node.name in {one.name for one in chain}
        return (node, "") if inside else (None, f"'{by_node}' is not in this backing file chain")
    if by_file is None:
        return None, ""
    found = [node for node in chain if node.filename == by_file]
    if found:
        return found[0], ""
    missing = f"Top image file {by_file} not found"
    return None, missing if role == "top" else f"Can't find '{by_file}' in the backing chain"


def _chain(state: VmState, node: Node) -> tuple[Node, ...]:
    """A node, what it filters or reads through to, and so on down."""
    found = [node]
    while True:
        content = content_node(state.graph, node)
        below = node.file if content is not node else node.backing
        if not below:
            return tuple(found)
        node = state.graph.node(below)
        found.append(node)


def _start_problem(state: VmState, source: Node, job_id: str, name: str) -> str:
    """What is found before there is a job."""
    if state.graph.get(name) or not name.startswith("#"):
        problem = name_problem(state, name)
        if problem:
            return problem
    if state.profile.has_active and not source.active:
        return f"Inactive '{source.name}' can't be a backing child of active '{name}'"
    return job_id_problem(state, job_id)


def _late_problem(
    state: VmState, source: Node, target: Node, arguments: Mapping[str, object]
) -> str:
    """What is found when there is a job already, which is then gone again."""
    speed = cast("int", arguments.get("speed", 0))
    if speed < 0:
        return "Parameter 'speed' expects a non-negative value"
    if not source.active:
        return "Block node is read-only"
    return _conflict(state, source, target)


def _conflict(state: VmState, source: Node, target: Node) -> str:
    """Whoever writes to the base already, or to a node on it, keeps the base for itself."""
    for node in _chain(state, source)[1:]:
        device = device_of(state, node)
        if device is None or target.name not in {node.name, node.backing}:
            continue
        user = f"node '{node.name}' (uses node '{target.name}' as 'backing' child)."
        if node.name == target.name:
            shown = device.name or device.qdev
            user = f"block device '{shown}' (uses node '{target.name}' as 'root' child)."
        return (
            f"Permission conflict on node '{target.name}': permissions 'write' are both required "
            f"by an unnamed block device (uses node '{target.name}' as 'root' child) and unshared "
            f"by {user}"
        )
    return ""


def _commit_of(
    state: VmState, source: Node, target: Node, name: str, arguments: Mapping[str, object]
) -> Commit:
    below = [node.name for node in _chain(state, source)[1:]]
    same = _content(state, source) == _content(state, target)
    return Commit(
        source=source.name,
        target=target.name,
        filter=name,
        between=tuple(takewhile(lambda other: other != target.name, below)),
        auto_finalize=bool(arguments.get("auto-finalize", True)),
        auto_dismiss=bool(arguments.get("auto-dismiss", True)),
        base_was_read_only=target.read_only,
        speed=cast("int", arguments.get("speed", 0)),
        length_bytes=0 if same else _CLUSTER_BYTES,
    )


def _begin(state: VmState, source: Node, job_id: str, commit: Commit, *, named: bool) -> VmState:
    job = Job(job_id, "commit", "", (), status="running", commit=commit)
    top = Node(
        name=commit.filter,
        driver="mirror_top",
        filename=source.filename,
        size_bytes=source.size_bytes,
        file=source.name,
        owned=False,
    )
    moved = _moved_devices(state, source.name, commit.filter)
    begun = evolve(
        moved,
        graph=BlockGraph((*moved.graph.nodes, top)),
        jobs=(*state.jobs, job),
        automatic_nodes=state.automatic_nodes + (not named),
        block_work=(*state.block_work, MicroStep("block-commit-copy", commit.target, job=job_id)),
    )
    return set_read_only(begun, commit.target, read_only=False)


def _content(state: VmState, node: Node) -> int:
    return content_node(state.graph, node).layer.content


def _moved_devices(state: VmState, old: str, new: str) -> VmState:
    devices = tuple(evolve(d, node=new) if d.node == old else d for d in state.devices)
    return evolve(state, devices=devices)


# --- the steps beside the main loop ----------------------------------------


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
    moved = _moved_devices(_without_filter(state, commit), commit.filter, commit.target)
    return _conclude(moved, job, "BLOCK_JOB_COMPLETED", "")


def _abort(state: VmState, job: Job, error: str) -> StepEffect:
    """The overlay stays where it is; 7.2 forgets to make the base read-only again."""
    commit = cast("Commit", job.commit)
    back = _moved_devices(_without_filter(state, commit), commit.filter, commit.source)
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


# --- commands about the job ----------------------------------------

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
    back = _moved_devices(_without_filter(state, commit), commit.filter, commit.source)
    return _after(events, _conclude(back, job, "BLOCK_JOB_COMPLETED", ""))


def query_block_jobs(state: VmState) -> list[dict[str, object]]:
    """The command `query-block-jobs`: newest first."""
    return [_job_info(job, job.commit) for job in reversed(state.jobs) if job.commit is not None]


def _job_info(job: Job, commit: Commit) -> dict[str, object]:
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
