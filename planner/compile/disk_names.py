"""Which disk a name in a request means: a disk's own, its node's, its root's, its device's."""

from __future__ import annotations

from functools import cached_property

from attrs import field, frozen

from planner.errors import Problem
from planner.model.facts import Disk, Facts

__all__ = ["DiskNames", "named_twice"]


@frozen
class DiskNames:
    """The names of a VM's disks.

    Attributes:
        facts: The VM.
        table: By name, the disks that it means.
    """

    facts: Facts
    table: dict[str, tuple[Disk, ...]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "table", self.facts.by_name())

    def find(self, name: str, code: str = "disk-unknown") -> Disk | Problem:
        """The disk that a name means, or why it means none, or several."""
        found = self.table.get(name, ())
        if len(found) == 1:
            return found[0]
        if found:
            means = ", ".join(sorted(disk.name for disk in found))
            return Problem("disk-ambiguous", name, f"this name means several disks: {means}", "")
        return self._unknown(name, code)

    def _unknown(self, name: str, code: str) -> Problem:
        disk = self._nodes_below.get(name)
        if disk is None:
            return Problem(code, name, "the VM has no such disk", f"it has: {self._some_disks}")
        return Problem(
            "node-below-disk",
            name,
            f"this node lies below disk {disk!r} and is no disk of its own (fact 6)",
            f"name {disk!r}",
        )

    @cached_property
    def _some_disks(self) -> str:
        return ", ".join(sorted(disk.name for disk in self.facts.disks)[:8]) or "none"

    @cached_property
    def _nodes_below(self) -> dict[str, str]:
        """The nodes that lie below disks, each with the first disk that it lies below."""
        below: dict[str, str] = {}
        for disk in self.facts.disks:
            for node in (*disk.below, *(layer.node for layer in disk.backing)):
                below.setdefault(node, disk.name)
        return below


def named_twice(disk: Disk, first: str, second: str) -> Problem:
    """The problem of two names of a request that mean one disk."""
    filters = {layer.node for layer in disk.filters if layer.node}
    if (first in filters) != (second in filters):
        return Problem(
            "filter-and-child",
            disk.name,
            f"{first!r} and {second!r} are a filter and the node under it: it would be "
            "snapshotted twice (fact 11)",
            "name one of them",
        )
    return Problem(
        "disk-named-twice", disk.name, f"{first!r} and {second!r} are one disk", "name it once"
    )
