"""`block_resize`, and the size that a load puts back.

Theory: an internal snapshot has its disk's size in it, and a load makes the disk as large again; nobody
is told.  A filter is as large as what it filters, a raw image as its file.

Source: fact 150.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from attrs import evolve

from planner.semantics.block import (
    FILTER_DRIVERS,
    content_node,
    device_or_node_name,
    keeps_size,
    lookup,
)
from planner.semantics.nodes import why_busy
from planner.semantics.result import NOT_MODELLED, CommandResult, generic
from planner.semantics.state import Node, VmState

__all__ = ["block_resize", "with_size"]

_SECTOR = 512


def block_resize(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """The command `block_resize`: a ``-drive`` id, or a node, and its new size in bytes."""
    device, name = str(arguments.get("device", "")), str(arguments.get("node-name", ""))
    size = cast("int", arguments["size"])
    is_drive = any(one.name == device for one in state.devices if one.name)
    node = lookup(state, device) if is_drive else state.graph.get(name)
    problem = ""
    if node is None:
        problem = f"Cannot find device='{device}' nor node-name='{name}'"
    elif size < 0:
        problem = "Parameter 'size' expects a >0 size"
    else:
        problem = _busy(state, node, device) or _image_problem(state, node, size)
    if problem or node is None:
        return CommandResult(state, error=generic(problem))
    sectors = -(-size // _SECTOR)  # of a raw image the last one may not be whole
    return CommandResult(with_size(state, node, sectors * _SECTOR), {})


def _busy(state: VmState, node: Node, device: str) -> str:
    why = why_busy(state, node)
    if not why:
        return _conflict(state, node) if keeps_size(state, node) else ""
    if not state.profile.resize_says_why:
        return f"Device '{device or '(null)'}' is in use"
    return f"Node '{device_or_node_name(state, node)}' is busy: {why}"


def _conflict(state: VmState, node: Node) -> str:
    parent, role = state.graph.parents[node.name][0]
    name = node.name
    return (
        f"Permission conflict on node '{name}': permissions 'resize' are both required by an unnamed "
        f"block device (uses node '{name}' as 'root' child) and unshared by node '{parent}' (uses node "
        f"'{name}' as '{role}' child)."
    )


def _image_problem(state: VmState, node: Node, size: int) -> str:
    image = content_node(state.graph, node)
    if image.read_only:
        return "Image is read-only"
    if image.driver == "qcow2" and size % _SECTOR:
        return f"The new size must be a multiple of {_SECTOR}"
    if image.driver not in ("qcow2", "raw"):
        return f"{NOT_MODELLED} block_resize of such a node"
    return ""


def with_size(state: VmState, node: Node, size: int) -> VmState:
    """The state in which a disk is that large: the image, a raw one's file, filters from the node down.

    A filter above goes on to show the size of before, or follows (fact 141).
    """
    image = content_node(state.graph, node)
    names = {image.name, image.file if image.driver == "raw" else ""}
    while node.name != image.name:
        names.add(node.name)
        node = state.graph.node(node.file)
    if state.profile.filters_follow:
        names |= _filters_over(state, image)
    changed = (state.graph.get(name) for name in names)
    return state.with_nodes(*(evolve(each, size_bytes=size) for each in changed if each))


def _filters_over(state: VmState, node: Node) -> set[str]:
    found: set[str] = set()
    waiting = [node.name]
    while waiting:
        parents = state.graph.parents.get(waiting.pop(), ())
        above = {name for name, role in parents if _filters(state, name, role)}
        waiting += above - found
        found |= above
    return found


def _filters(state: VmState, name: str, role: str) -> bool:
    return role == "file" and state.graph.node(name).driver in FILTER_DRIVERS
