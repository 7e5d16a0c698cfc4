"""Snapshots as a tree of text: parents and children, and which one the VM runs on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.present.shown_snapshot import RECORDED, ShownSnapshot, forest
from planner.present.visible import as_lines

__all__ = ["ShownVm", "tree_text"]

ShownVm = tuple[str, Sequence[ShownSnapshot]]
"""What a VM is called, and its snapshots."""


def tree_text(vms: Sequence[ShownVm]) -> str:
    """A tree for each VM."""
    lines: list[str] = []
    for called, snapshots in vms:
        lines.append(called)
        lines += _tree(snapshots) if snapshots else ["  no snapshots"]
    return as_lines(lines) or "no snapshots"


def _tree(snapshots: Sequence[ShownSnapshot]) -> Iterator[str]:
    placed = forest(snapshots)
    depths = [depth for depth, _ in placed]
    rails: list[bool] = []  # by depth, whether more siblings follow
    for at, (depth, each) in enumerate(placed):
        more = _followed(depths, at)
        rails[depth:] = [more]
        before = "".join("│  " if rail else "   " for rail in rails[:depth])
        yield f"{before}{'├─ ' if more else '└─ '}{_words(each)}"


def _followed(depths: Sequence[int], at: int) -> bool:
    """Whether a sibling comes after the snapshot at this place."""
    for depth in depths[at + 1 :]:
        if depth <= depths[at]:
            return depth == depths[at]
    return False


def _words(each: ShownSnapshot) -> str:
    about = [each.taken, each.state, *each.marks]
    if each.standing != RECORDED:
        about.insert(0, each.standing)
    runs = "  <- the VM runs on this" if each.current else ""
    return f"{each.tag}  ({', '.join(filter(None, about))}){runs}"
