"""A record of a group that nothing needs any more: it goes with the last of its members' journals."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from planner.errors import SnapplanError
from planner.group.record import GroupRecord
from planner.group.records import GroupStore
from planner.host.input import read_bytes
from planner.model.group_run import GroupRun
from planner.recover.recovery import Pending
from planner.run.journal import read_journal

__all__ = ["forget_undone_group", "pending_members"]


def forget_undone_group(pending: Pending) -> None:
    """Remove the record of a group that was never made, or of a load, where no run of it is pending.

    Whoever runs a group holds the locks of all its members; this member's is held here, and its run had
    begun: so nobody runs that group.  A record that stays does no harm: it decides against it as well.
    """
    group = None if pending.journal is None else pending.journal.header.group
    if group is None:
        return
    groups = GroupStore.beside(pending.vm)
    for each in (groups, groups.loads):
        with suppress(SnapplanError):
            record = each.find(group.group)
            if record is None or record.committed or record.run != group.run:
                continue
            if not pending_members(groups, record):
                each.remove(record.name)


def pending_members(groups: GroupStore, record: GroupRecord) -> tuple[str, ...]:
    """The members of a group whose run has not ended, by name; of a journal that is damaged, perhaps.

    Raises:
        BadInput: The store cannot be read.
    """
    root = groups.folder.parent
    return tuple(
        member.name
        for member in record.members
        for path in sorted((root / member.vm_key / "journals").glob("*.journal"))
        if _may_be_of(path, GroupRun(record.name, record.run, member.name))
    )


def _may_be_of(path: Path, group: GroupRun) -> bool:
    try:
        return read_journal(read_bytes(path), str(path)).header.group == group
    except FileNotFoundError:
        return False
    except (OSError, SnapplanError):
        return True
