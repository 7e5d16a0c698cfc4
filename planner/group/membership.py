"""What is done to one member of a group alone, is done with somebody's word for it only."""

from __future__ import annotations

from planner.errors import Problem, Refused
from planner.group.records import GroupStore
from planner.parts.manifest import Manifest
from planner.store.store import VmStore

__all__ = ["check_alone"]


def check_alone(
    vm: VmStore | None, manifest: Manifest, *, alone: bool, doing: str = "load"
) -> None:
    """Refuse a member's snapshot: its group would be of several instants, or not whole any more.

    Args:
        vm: The share of the store that has the snapshot; None: none has, so it has no group there.
        manifest: The snapshot.
        alone: Whether somebody has said that it may be done to this member alone.
        doing: What, as the command is called.

    Raises:
        Refused: It is a member's of a group that is there (``group-member``).
        BadInput: The group's record cannot be read.
    """
    group = manifest.group
    if alone or vm is None or group is None or not GroupStore.beside(vm).is_committed(group):
        return
    problem = Problem(
        "group-member",
        manifest.tag,
        f"it is the snapshot of {group.member!r} in group {group.group!r}, whose other members would "
        "stay as they are",
        f"snapplan group {doing} {group.group}; --alone does it to this member only",
    )
    raise Refused.of(problem)
