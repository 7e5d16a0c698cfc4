"""What a group's file says: its members, each with its VM and request, and how long they may stand."""

from __future__ import annotations

import re

from attrs import frozen

from planner.errors import BadInput
from planner.model.shape import Key, Reading, Shape, Where, named, record, said, text
from planner.model.tag import TAG_LIMIT_BYTES, tag_problems
from planner.model.text import read_text

__all__ = ["GroupFile", "MemberLine", "group_schema", "read_group"]


@frozen
class MemberLine:
    """One member, as a group's file names it.

    Attributes:
        vm: Where its VM is: an address as ``--vm`` takes it.
        request: Path of its request's file; relative to the group's file.
        design: Of its plan.
    """

    vm: str
    request: str
    design: str = "auto"


@frozen
class GroupFile:
    """A group as its file has it.

    Attributes:
        group: Its name.
        members: By name, in the order of the file.
        pause_budget_ms: How long the guests may stand still, in milliseconds; 0: as long as it takes.
    """

    group: str
    members: tuple[tuple[str, MemberLine], ...]
    pause_budget_ms: float = 0.0


_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s)")
_UNITS_MS = {"ms": 1.0, "s": 1000.0}
_MOST_MS = 3_600_000.0


def _time_ms() -> Shape:
    expected = "a time such as `500 ms` or `2 s`, up to an hour"

    def read(value: object, where: Where, reading: Reading) -> object:
        found = _TIME.fullmatch(value) if isinstance(value, str) else None
        number = float(found[1]) * _UNITS_MS[found[2]] if found else 0.0
        return number if 0 < number <= _MOST_MS else reading.wrong(where, value, expected)

    return Shape(read, {"type": "string", "pattern": f"^{_TIME.pattern}$"}, lambda ms: f"{ms:g} ms")


_ADDRESS = text(str.isprintable, code="address-malformed")
_PATH = text(lambda path: "\0" not in path, code="path-malformed")
_NAME = text(str.isprintable, code="member-name-malformed", maxLength=TAG_LIMIT_BYTES)
_DESIGN = text(str.isprintable, code="design-name-malformed")
_NO_VM = "the member does not say which VM it is", "write `vm: ` and the VM's QMP socket"
_NO_REQUEST = "the member has no request", "write `request: ` and its request's file"
_MEMBER = record(
    MemberLine,
    Key(
        "vm", _ADDRESS, "Where the VM is: a QMP socket's path, host:port, or NAME:ADDRESS.", _NO_VM
    ),
    Key("request", _PATH, "The request's file; relative to this one.", _NO_REQUEST),
    Key("design", _DESIGN, "A design's name; else one that can wait in the pause.", seldom=True),
    expected="`{vm: ADDRESS, request: FILE}`",
)
_TAG = said(
    tag_problems, minLength=1, maxLength=TAG_LIMIT_BYTES, **{"not": {"pattern": "^[0-9]+$"}}
)
_NO_NAME = "the group has no name", "write `group: NAME`"
_NO_MEMBERS = "the group has no members", "write `members:` with a line for each VM"
_GROUP = record(
    GroupFile,
    Key("group", _TAG, "The group's name, as a snapshot's tag may be.", _NO_NAME),
    Key("members", named(_NAME, _MEMBER, "a mapping of names to members"), "", _NO_MEMBERS),
    Key(
        "pause-budget",
        _time_ms(),
        "How long the guests may stand still until all is captured, such as `500 ms`.",
        attribute="pause_budget_ms",
        seldom=True,
    ),
)


def read_group(source_text: str, source: str = "group") -> GroupFile:
    """Read a group's file.

    Args:
        source_text: YAML or JSON.
        source: The file's name, for messages.

    Raises:
        BadInput: It is no such file; all that is wrong with it is in the problems.
    """
    document = read_text(source_text, source)
    reading = Reading(document)
    found = None
    if isinstance(document.value, dict):
        found = _GROUP.read(document.value, (), reading)
        if isinstance(found, GroupFile) and not found.members:
            reading.report("key-missing", ("members",), *_NO_MEMBERS)
    else:
        reading.report("group-shape", (), "the group is no mapping of keys to values")
    problems = (*document.problems, *reading.problems)
    if problems or not isinstance(found, GroupFile):
        raise BadInput(f"{source} is no group", problems=problems, code="group-file-malformed")
    return found


def group_schema() -> dict[str, object]:
    """The JSON schema of a group's file, as `specs/schemas/group-file.schema.json` has it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:snapplan:schema:group-file:1",
        "title": "snapplan group file",
        "description": "Snapshots of several VMs at one instant, as asked for. YAML or JSON.",
        **_GROUP.schema,
    }
