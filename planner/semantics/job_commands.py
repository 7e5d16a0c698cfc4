"""Commands about any job: its id, its end, the event of its status."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from attrs import evolve

from planner.semantics.result import CommandResult, QmpEvent, generic
from planner.semantics.state import VmState

__all__ = ["job_dismiss", "job_id_problem", "job_verb", "status_event"]

_WELL_FORMED = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


def status_event(job_id: str, status: str) -> QmpEvent:
    """The event of a job's new status."""
    return QmpEvent("JOB_STATUS_CHANGE", (("status", status), ("id", job_id)))


def job_id_problem(state: VmState, job_id: str) -> str:
    """Why a new job cannot have this id; empty if it can (facts 1, 3)."""
    if not _WELL_FORMED.fullmatch(job_id):
        return f"Invalid job ID '{job_id}'"
    if state.job(job_id):
        return f"Job ID '{job_id}' already in use"
    return ""


def job_dismiss(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """The command `job-dismiss`."""
    job = state.job(cast("str", arguments["id"]))
    if job is None:
        return CommandResult(state, error=generic("Job not found"))
    if job.status != "concluded":
        return job_verb(state, arguments, "dismiss")
    left = evolve(state, jobs=tuple(other for other in state.jobs if other.id != job.id))
    return CommandResult(left, {}, None, (status_event(job.id, "null"),), 1)


def job_verb(state: VmState, arguments: Mapping[str, object], verb: str) -> CommandResult:
    """A job command that a snapshot job refuses: there is no cancel (fact 2)."""
    job = state.job(cast("str", arguments["id"]))
    if job is None:
        return CommandResult(state, error=generic("Job not found"))
    text = f"Job '{job.id}' in state '{job.status}' cannot accept command verb '{verb}'"
    return CommandResult(state, error=generic(text))
