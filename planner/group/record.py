"""What is written of a group: who its members are, and whether its snapshot is made.

A group has one record, and that decides for all of its members (two-phase commit, presumed abort):

    begun        - its members are at work; whoever finds it so after a crash undoes his member
    committed    - every VM had shown every part; whoever finds it so writes his member's manifest

`begun` is on the disk before the first member's journal, `committed` before the first manifest.  A
record that is not there decides like `begun`: it goes when all its members are undone.  No process but
the one that runs the group ever makes it `committed`, and that one holds the locks of all members.

A load of a group has a record of its own, beside that, for as long as it takes:

    begun        - no disk is reverted: whoever finds it so brings his guest back
    loading      - disks may be reverted: no guest goes on until all members are loaded
    loaded       - all are: whoever finds it so lets his guest go on
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

from attrs import field, frozen
from attrs.validators import matches_re
from cattrs import Converter

from planner.model.file_format import FileFormat
from planner.model.strict import strict_converter, write_with_hyphens

__all__ = ["GROUP_RECORDS", "GroupMember", "GroupRecord", "GroupState", "KnownGroup"]


class GroupState(StrEnum):
    """What a group has decided."""

    BEGUN = "begun"
    COMMITTED = "committed"
    LOADING = "loading"
    """Of a load: every guest stands and every member was looked at; from now on disks are reverted."""
    LOADED = "loaded"
    """Of a load: every member is loaded; from now on guests go on."""


@frozen(order=True)
class GroupMember:
    """One member of a group.

    Attributes:
        name: What the group calls it.
        tag: Its snapshot's tag.
        vm_key: Its VM's folder in the store: a name, and no path that leads out of it.
        vm: The VM's name or UUID, or empty.
        address: Where its QMP socket was.
    """

    name: str
    tag: str
    vm_key: str = field(validator=matches_re(r"[0-9A-Za-z][0-9A-Za-z._-]*"))
    vm: str
    address: str


@frozen
class GroupRecord:
    """A group.

    Attributes:
        name: Its name.
        run: The name of the run that made it.
        state: What it has decided.
        members: In order of name.
        started_ns: Host's wall clock when it began, since the epoch.
    """

    name: str
    run: str
    state: GroupState
    members: tuple[GroupMember, ...]
    started_ns: int

    @property
    def committed(self) -> bool:
        """Whether its snapshot is made."""
        return self.state is GroupState.COMMITTED


@frozen
class KnownGroup:
    """A group, as its record and its members' records say it is.

    Attributes:
        record: Its record.
        pending: Members whose run has not ended.
        missing: Members whose snapshot is not recorded (any more).
    """

    record: GroupRecord
    pending: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def standing(self) -> str:
        """``whole``, ``incomplete``, or ``pending``: a run did not end."""
        if self.pending or not self.record.committed:
            return "pending"
        return "incomplete" if self.missing else "whole"


@cache
def _converter() -> Converter:
    converter = strict_converter()
    write_with_hyphens(converter, GroupMember)
    write_with_hyphens(converter, GroupRecord)
    return converter


GROUP_RECORDS = FileFormat(
    *("snapplan-group", 1, GroupRecord, _converter),
    *("group-malformed", "is no record of a group", "it is written by `snapplan group` only"),
)
