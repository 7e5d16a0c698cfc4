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
from typing import cast

from attrs import evolve

from planner.semantics.block import content_node, device_of, is_root, lookup
from planner.semantics.block_commit_job import with_devices_on
from planner.semantics.job_commands import job_id_problem, status_event
from planner.semantics.nodes import automatic_name, name_problem
from planner.semantics.overlay import set_read_only
from planner.semantics.result import (
    NOT_MODELLED,
    CommandResult,
    MicroStep,
    QmpError,
    generic,
)
from planner.semantics.state import BlockGraph, Commit, Job, Node, VmState

__all__ = ["block_commit"]

_CLUSTER_BYTES = 65536
_INNER = f"{NOT_MODELLED} block-commit of an inner node"
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
    same = content_of(state, source) == content_of(state, target)
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
    moved = with_devices_on(state, source.name, commit.filter)
    begun = evolve(
        moved,
        graph=BlockGraph((*moved.graph.nodes, top)),
        jobs=(*state.jobs, job),
        automatic_nodes=state.automatic_nodes + (not named),
        block_work=(*state.block_work, MicroStep("block-commit-copy", commit.target, job=job_id)),
    )
    return set_read_only(begun, commit.target, read_only=False)


def content_of(state: VmState, node: Node) -> int:
    return content_node(state.graph, node).layer.content


# --- commands about the job ----------------------------------------
