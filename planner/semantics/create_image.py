"""`blockdev-create`: a job that makes a file, or an image in a node.

Theory: the reply says nothing of its outcome; as a snapshot job it stays, with its error, until it is
dismissed.  A file that is there is emptied, unless somebody has it open.

Source: fact 153.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from attrs import evolve

from planner.semantics.block import (
    content_node,
    device_of,
    is_used,
    keeps_size,
    lookup,
    write_locked,
)
from planner.semantics.job_commands import job_id_problem, status_event
from planner.semantics.nodes import LOCKED
from planner.semantics.result import (
    NOT_MODELLED,
    CommandResult,
    InjectedFailure,
    MicroStep,
    StepEffect,
    generic,
)
from planner.semantics.state import Job, MadeFile, Node, VmState

__all__ = ["CREATE_STEPS", "blockdev_create", "emptied"]

_SECTOR = 512


def blockdev_create(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """Begin the job; what it does is block work."""
    options = cast("dict[str, Any]", arguments["options"])
    job_id = cast("str", arguments["job-id"])
    problem = _unmodelled(options) or job_id_problem(state, job_id)
    if problem:
        return CommandResult(state, error=generic(problem))
    work = (*state.block_work, MicroStep("create-image", job=job_id, detail=json.dumps(options)))
    job = Job(job_id, "create", "", (), status="running")
    begun = evolve(state, jobs=(*state.jobs, job), block_work=work)
    events = (status_event(job_id, "created"), status_event(job_id, "running"))
    return CommandResult(begun, {}, None, events, len(events))


def _unmodelled(options: Mapping[str, Any]) -> str:
    if options["driver"] not in ("file", "qcow2"):
        return f"{NOT_MODELLED} blockdev-create with driver '{options['driver']}'"
    if options["driver"] == "qcow2" and not isinstance(options["file"], str):
        return f"{NOT_MODELLED} blockdev-create of an image in a new node"
    return ""


def _create(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    options = json.loads(step.detail)
    job = cast("Job", state.job(step.job))
    of_file = options["driver"] == "file"
    problem = (_file_problem if of_file else _image_problem)(state, options)
    problem = problem or (failure.text if failure else "")
    if not problem:
        state = _made(state, options)
    ended = state.with_job(evolve(job, status="concluded", error=problem))
    statuses = ("aborting", "concluded") if problem else ("waiting", "pending", "concluded")
    return StepEffect(ended, tuple(status_event(job.id, status) for status in statuses))


def _made(state: VmState, options: Mapping[str, Any]) -> VmState:
    """What is in a file afterwards; an image inside of another one is that one's content."""
    if options["driver"] == "file":
        return emptied(state, MadeFile(options["filename"], "", options["size"]))
    node = cast("Node", lookup(state, options["file"]))
    below = content_node(state.graph, node)
    if below.driver == "qcow2":
        return state
    return emptied(state, MadeFile(below.filename, "qcow2", options["size"]))


def _file_problem(state: VmState, options: Mapping[str, Any]) -> str:
    if write_locked(state, options["filename"]):
        return LOCKED
    return "Could not resize file: Invalid argument" if options["size"] < 0 else ""


def emptied(state: VmState, made: MadeFile) -> VmState:
    """What a file held is gone, and it is what was made."""
    kept = tuple(each for each in state.images if each[0] != made.filename)
    others = tuple(each for each in state.made if each.filename != made.filename)
    return evolve(state, images=kept, made=(*others, made))


def _image_problem(state: VmState, options: Mapping[str, Any]) -> str:
    name = options["file"]
    node = lookup(state, name)
    if node is None:
        return f"Cannot find device='{name}' nor node-name='{name}'"
    if options["size"] % _SECTOR:
        return f"Image size must be a multiple of {_SECTOR} bytes"
    return _permission_problem(state, node)


def _permission_problem(state: VmState, node: Node) -> str:
    name = node.name
    if not is_used(state, node):
        locked = node.driver == "file" and write_locked(state, node.filename)
        return LOCKED if locked else ""
    device = device_of(state, node)
    parents = state.graph.parents.get(name, ())
    if device is not None:
        wanted, user, role = "write", f"block device '{device.name or device.qdev}'", "root"
    else:
        wanted = "write, resize" if keeps_size(state, node) else "write"
        user, role = f"node '{parents[0][0]}'", parents[0][1]
    return (
        f"Permission conflict on node '{name}': permissions '{wanted}' are both required by an unnamed "
        f"block device (uses node '{name}' as 'root' child) and unshared by {user} (uses node '{name}' "
        f"as '{role}' child)."
    )


CREATE_STEPS = {"create-image": _create}
