"""`block_resize`, and the size that a load puts back.

Theory: an internal snapshot has its disk's size in it, and a load makes the disk as large again; nobody
is told.  A filter is as large as what it filters, a raw image as its file.

Source: fact 150.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from attrs import evolve

from planner.semantics.backup import copied, copying
from planner.semantics.block import FILTER_DRIVERS, committing, content_node, lookup
from planner.semantics.result import CommandResult, generic
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
        problem = _busy(state, node, device) or _unmodelled(state, node, size)
    if problem or node is None:
        return CommandResult(state, error=generic(problem))
    return CommandResult(with_size(state, node, size), {})


def _busy(state: VmState, node: Node, device: str) -> str:
    backs = [parent for parent, role in state.graph.parents.get(node.name, ()) if role == "backing"]
    is_copied = copied(state, node) or any(work.target == node.name for work in copying(state))
    if not backs and not is_copied:
        return ""
    if not state.profile.resize_says_why:
        return f"Device '{device or '(null)'}' is in use"
    why = "block device is in use by block job: backup"
    if not is_copied:
        why = f"node is used as backing hd of '{backs[0]}'"
    return f"Node '{device or node.name}' is busy: {why}"


def _unmodelled(state: VmState, node: Node, size: int) -> str:
    image = content_node(state.graph, node)
    if image.read_only or size % _SECTOR or committing(state, node) is not None:
        return "the simulator does not model block_resize of such a node, or to such a size"
    return ""


def with_size(state: VmState, node: Node, size: int) -> VmState:
    """The state in which a disk is that large: the image, the filters over it, the file of a raw one."""
    image = content_node(state.graph, node)
    names = {image.name, image.file if image.driver == "raw" else ""}
    above = [image.name]
    while above:
        parents = state.graph.parents.get(above.pop(), ())
        filters = [name for name, role in parents if _filters(state, name, role)]
        names.update(filters)
        above.extend(filters)
    changed = (state.graph.get(name) for name in names)
    return state.with_nodes(*(evolve(each, size_bytes=size) for each in changed if each))


def _filters(state: VmState, name: str, role: str) -> bool:
    return role == "file" and state.graph.node(name).driver in FILTER_DRIVERS
