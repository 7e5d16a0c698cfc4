"""Requests as files and mappings, what they are known by, and what was planned of them, in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from planner.compile.plan import Plan
from planner.errors import BadInput
from planner.group.planning import GroupPlan
from planner.host.input import read_text_file
from planner.model.request import Request
from planner.model.request_digest import request_digest
from planner.model.request_text import ReadRequest, request_from_plain
from planner.model.request_text import read_request as read_text_of
from planner.model.text import Document
from planner.present.group_view import group_plan_text
from planner.present.plan_view import plan_text as text_of_plan

__all__ = ["plan_text", "read_request", "request_digest"]


def read_request(source: str | Path | Mapping[str, object]) -> Request:
    """Read a request: a file (YAML or JSON), or the mapping that such a file holds.

    Args:
        source: The file's path, or the mapping.

    Raises:
        BadInput: It cannot be read, or says what no request says; each problem names its key.
    """
    read = _read(source)
    if read.problems:
        raise BadInput("the request is malformed", problems=read.problems, code="request-malformed")
    return read.request


def plan_text(plan: Plan | GroupPlan) -> str:
    """Explain a plan, of a VM or of a group: its steps, why, and what undoes each."""
    return text_of_plan(plan) if isinstance(plan, Plan) else group_plan_text(plan)


def _read(source: str | Path | Mapping[str, object]) -> ReadRequest:
    if isinstance(source, Mapping):
        return request_from_plain(Document(dict(source)))
    return read_text_of(read_text_file(str(source)), str(source))
