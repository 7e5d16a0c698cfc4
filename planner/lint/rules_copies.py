"""Findings about copies of disks, images that QEMU makes, and disks that change their size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from planner.lint.captures import CapturedPart
from planner.lint.moment import Moment, Rule
from planner.lint.plugging import tag_loaded
from planner.lint.program import Finding
from planner.lint.vm import COPIES, told_by
from planner.semantics import (
    all_disks,
    content_node,
    find_snapshot,
    lookup,
    snapshot_node,
    writable_device_nodes,
)

__all__ = ["RULES", "copies_begun"]


def _data_of(at: Moment, *kinds: str) -> Iterator[Mapping[str, object]]:
    """The arguments of these commands, be they alone or in a transaction."""
    return (data for kind, data in told_by(at.command) if kind in kinds)


def copies_begun(at: Moment, pause: int) -> Iterator[CapturedPart]:
    """The copies of disks that a command begins, each of the instant at which it does.

    A node that no device writes to is the same at every instant: its copy is of none.
    """
    written = {node.name for node in writable_device_nodes(at.state)}
    for data in _data_of(at, *COPIES):
        name = str(data.get("device"))
        node = lookup(at.state, at.stage.aliases.get(name, name))
        if node is None:
            continue
        image = content_node(at.state.graph, node)
        if image.name in written:
            what = f"the copy of {name}"
            instant = at.state.machine_version
            yield CapturedPart(at.command, what, "", instant, pause, disk=image.name, copy=True)


def _overwritten(at: Moment) -> Iterator[Finding]:
    for data in _data_of(at, "drive-backup"):
        if data.get("mode") != "existing":
            yield at.finding(
                "drive-backup-overwrites",
                f"drive-backup overwrites {data.get('target')!r} without a word if it is there, also "
                "where the command is refused afterwards (fact 152)",
                "make the image, blockdev-add it, then blockdev-backup",
            )


def _emptied(at: Moment) -> Iterator[Finding]:
    options = at.arguments.get("options")
    if at.execute != "blockdev-create" or not isinstance(options, Mapping):
        return
    path = options.get("filename")
    known = {file for file, _ in at.state.images} | {made.filename for made in at.state.made}
    in_use = {node.filename for node in at.state.graph.nodes}
    if options.get("driver") == "file" and path in known - in_use:
        yield at.finding(
            "create-empties",
            f"{path!r} is an image of this VM's: blockdev-create empties it without a word (fact 153)",
            "make another file",
        )


def _resized(at: Moment) -> Iterator[Finding]:
    tag = tag_loaded(at)
    named = [target.node for target in at.targets()] if at.execute == "snapshot-load" else []
    for node in named or (all_disks(at.state) if tag else ()):
        image = snapshot_node(at.state.graph, node) if node is not None else None
        held = find_snapshot(at.state, image, tag) if image is not None else None
        if image is None or held is None or held.size_bytes in (0, image.size_bytes):
            continue
        again = f", {held.size_bytes} bytes" if at.stage.facts is not None else ""
        yield at.finding(
            "resize-undone",
            f"{image.name} was resized since {tag!r} was saved: the load makes it as it was{again}, "
            "and no reply and no event says so (fact 150)",
            "block_resize it again after the load, or tell whoever minds the disk's size",
        )


RULES: tuple[Rule, ...] = (_overwritten, _emptied, _resized)
