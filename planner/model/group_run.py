"""Which run of which group something is of."""

from __future__ import annotations

from attrs import frozen

__all__ = ["GroupRun"]


@frozen
class GroupRun:
    """The run of a group that a member's run, or its snapshot, is of.

    Attributes:
        group: The group's name.
        run: The name of the group's run: another one of that group has another.
        member: What the member is called in it.
    """

    group: str
    run: str
    member: str
