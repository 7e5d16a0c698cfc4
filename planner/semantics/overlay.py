"""Overlays: putting a node on another one, and making nodes active.

Theory: an overlay is a qcow2 image added without a backing file; `blockdev-snapshot` puts it on a
node: everything that used the node now uses the overlay, the node becomes the overlay's backing file
and, once the transaction is committed, read-only.  From then on the node's content is a part of that
instant, and the overlay starts with the same content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from attrs import evolve

from planner.semantics.block import (
    FILTER_DRIVERS,
    committing,
    content_node,
    device_of,
    device_or_node_name,
    set_active,
)
from planner.semantics.nodes import why_busy
from planner.semantics.result import CommandResult, generic
from planner.semantics.state import Node, VmState

__all__ = [
    "append_overlay",
    "blockdev_set_active",
    "on_busy_node",
    "overlay_problem",
    "remove_overlay",
    "set_read_only",
]


# --- blockdev-snapshot ----------------------------------------


def overlay_problem(state: VmState, node: Node, overlay_name: str) -> str:
    """Why this overlay cannot be put on this node; empty if it can."""
    busy = on_busy_node(state, node)
    if busy:
        return busy
    overlay = state.graph.get(overlay_name)
    if overlay is None:
        return f"Cannot find device='{overlay_name}' nor node-name='{overlay_name}'"
    job = committing(state, overlay)
    is_base = job is not None and job.commit is not None and overlay.name == job.commit.target
    if _read_by_device(state, overlay) or is_base:
        return "The overlay is already in use"
    if overlay.backing:
        return "The overlay already has a backing image"
    if overlay.name in state.graph.parents:
        return "The overlay is already in use"
    if overlay.driver != "qcow2":
        return "The overlay does not support backing images"
    if overlay.name == node.name:
        return f"Making '{node.name}' a backing child of '{node.name}' would create a cycle"
    return ""


def on_busy_node(state: VmState, node: Node) -> str:
    """Why nothing can be put on this node; empty if something can."""
    why = why_busy(state, node)
    return f"Node '{device_or_node_name(state, node)}' is busy: {why}" if why else ""


def _read_by_device(state: VmState, node: Node) -> bool:
    """Whether a block backend reads a node, itself or through those above it.

    Not through the filter of a commit: QEMU asks for no consistent reads below it.
    """
    waiting, seen = [node], {node.name}
    while waiting:
        one = waiting.pop()
        if device_of(state, one):
            return True
        above = {parent for parent, _ in state.graph.parents.get(one.name, ())} - seen
        seen |= above
        nodes = (state.graph.node(parent) for parent in above)
        waiting += [other for other in nodes if other.driver != "mirror_top"]
    return False


def append_overlay(state: VmState, overlay: Node, node: Node) -> VmState:
    """Put an overlay on a node: it takes the node's place above, and reads through to it."""
    moved = [
        _with_child(other, node.name, overlay.name)
        for other in state.graph.nodes
        if any(child == node.name for _, child in other.children)
    ]
    content = _content(state, node)
    top = evolve(
        overlay,
        backing=node.name,
        layer=evolve(overlay.layer, content=content),
        active=node.active,
    )
    devices = tuple(
        evolve(device, node=overlay.name) if device.node == node.name else device
        for device in state.devices
    )
    return evolve(state.with_nodes(top, *moved), devices=devices)


def remove_overlay(state: VmState, overlay_name: str, node_name: str) -> VmState:
    """Take an overlay off again, as if it had never been put on."""
    overlay = state.graph.node(overlay_name)
    moved = [
        _with_child(other, overlay_name, node_name)
        for other in state.graph.nodes
        if any(child == overlay_name for _, child in other.children)
    ]
    bare = evolve(overlay, backing="", layer=evolve(overlay.layer, content=0), active=True)
    devices = tuple(
        evolve(device, node=node_name) if device.node == overlay_name else device
        for device in state.devices
    )
    return evolve(state.with_nodes(bare, *moved), devices=devices)


def set_read_only(state: VmState, name: str, *, read_only: bool) -> VmState:
    """Make a node read-only or writable, down to its protocol node.

    Read-only once an overlay is committed on it; writable when a `block-commit` writes to it.  A filter
    shows the size of what is under it then, but on 7.2.
    """
    used = {device.node for device in state.devices}
    nodes: list[Node] = []
    waiting = [name]
    while waiting:
        node = state.graph.node(waiting.pop())
        seen = content_node(state.graph, node) if state.profile.filters_refresh else node
        nodes.append(evolve(node, read_only=read_only, size_bytes=seen.size_bytes))
        below = (child for child in (node.file, node.data_file) if child)
        waiting += [child for child in below if not (read_only and child in used)]
    return state.with_nodes(*nodes)


def _with_child(node: Node, old: str, new: str) -> Node:
    def swapped(name: str) -> str:
        return new if name == old else name

    return evolve(
        node,
        file=swapped(node.file),
        backing=swapped(node.backing),
        data_file=swapped(node.data_file),
    )


def _content(state: VmState, node: Node) -> int:
    while node.driver in FILTER_DRIVERS and node.file:
        node = state.graph.node(node.file)
    return node.layer.content


# --- blockdev-set-active ----------------------------------------


def blockdev_set_active(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """`blockdev-set-active` (10.0 and later): the way back for an undo (fact 35)."""
    active = cast("bool", arguments["active"])
    name = cast("str | None", arguments.get("node-name"))
    if name is None:
        return CommandResult(set_active(state, active=active), {})
    if state.graph.get(name) is None:
        text = f"Failed to find node with node-name='{name}'"
        return CommandResult(state, error=generic(text))
    return CommandResult(set_active(state, active=active, names=frozenset({name})), {})
