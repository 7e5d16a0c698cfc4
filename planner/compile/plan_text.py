"""Plans to and from their file: canonical JSON, checked and proved on the way in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from attrs import NOTHING, fields
from cattrs import Converter

from planner.compile.plan import Plan
from planner.errors import Problem
from planner.model.file_format import FileFormat
from planner.model.operations import THE_VM, Kind, Operation
from planner.model.request import FreezeFilesystems, Request
from planner.model.request_text import request_from_plain, request_to_plain
from planner.model.strict import strict_converter, write_with_hyphens
from planner.model.text import Document
from planner.program.program import Program, Step, Undo, canonical_json
from planner.program.resolution import IN_RESOLUTIONS, DiskCopy, Resolution, Stream
from planner.verify.proof import verify

__all__ = ["is_plan", "plan_from_plain", "plan_to_plain", "plan_to_text", "read_plan"]

_ALWAYS = ("choices", "warnings")
"""What a resolution is written with though it says nothing; all else that has a default came later."""

_SELDOM: Mapping[type, tuple[str, ...]] = {DiskCopy: ("format",), Stream: ("libvirt",)}
"""What came later, and is written where it says something."""


@cache  # most commands need few of these, and each takes its time to make
def _converter() -> Converter:
    converter = strict_converter()
    converter.register_unstructure_hook(Request, request_to_plain)
    converter.register_structure_hook(Request, lambda value, _: _request(value))
    converter.register_unstructure_hook(Operation, _operation_to_plain)
    converter.register_structure_hook(Operation, lambda value, _: _operation(value))
    for kind in (Problem, *IN_RESOLUTIONS, FreezeFilesystems, Undo):
        write_with_hyphens(converter, kind, seldom=_SELDOM.get(kind, ()))
    later = [each.name for each in fields(Resolution) if each.default is not NOTHING]
    seldom = tuple(name for name in later if name not in _ALWAYS)
    write_with_hyphens(converter, Resolution, seldom=seldom)
    write_with_hyphens(converter, Step, seldom=("target", "precedes", "follows"))
    # They hold what stands above, and are written with its hooks.
    write_with_hyphens(converter, Program)
    write_with_hyphens(converter, Plan)
    return converter


def _request(value: object) -> Request:
    read = request_from_plain(Document(value))
    if read.problems:
        raise ValueError(str(read.problems[0]))
    return read.request


def _operation_to_plain(operation: Operation) -> dict[str, str]:
    plain = {"operation": operation.kind.value}
    if operation.vm != THE_VM:
        plain["vm"] = operation.vm
    if operation.disk:
        plain["disk"] = operation.disk
    if operation.detail:
        plain["detail"] = operation.detail
    return plain


def _operation(value: object) -> Operation:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise TypeError(f"{str(value)[:60]!r} is no operation")
    known = {"operation", "vm", "disk", "detail"}
    if "operation" not in value or not set(value) <= known:
        raise ValueError(f"{str(value)[:60]!r} is no operation")
    return Operation(
        Kind(value["operation"]),
        value.get("vm", THE_VM),
        value.get("disk", ""),
        value.get("detail", ""),
    )


_FILES = FileFormat(
    *("snapplan-plan", 1, Plan, _converter),
    *("plan-malformed", "is no plan file", "make it anew with `snapplan plan`"),
)


def plan_to_plain(plan: Plan) -> dict[str, object]:
    """Write a plan as plain values."""
    return _FILES.to_plain(plan)


def plan_to_text(plan: Plan) -> str:
    """Write a plan as its file's text: the same bytes for the same plan, always."""
    return canonical_json(plan_to_plain(plan))


def is_plan(text: str) -> bool:
    """Whether a text says that it is a plan file."""
    return text.lstrip().startswith("{") and _FILES.says_so(text)


def read_plan(text: str, source: str = "plan") -> Plan:
    """Read a plan file's text, and prove its program.

    Args:
        text: JSON.
        source: The file's name, for messages.

    Raises:
        BadInput: It is no plan file, or of another format version, or malformed.
        Violation: Its program breaks a rule, whoever wrote it.
    """
    return _proved(_FILES.read(text, source))


def plan_from_plain(value: object, source: str = "plan") -> Plan:
    """Check plain values into a plan; see `read_plan`."""
    return _proved(_FILES.from_plain(value, source))


def _proved(plan: Plan) -> Plan:
    verify(plan.program)
    return plan
