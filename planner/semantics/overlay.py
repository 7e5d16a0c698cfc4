"""Overlays: adding a node, putting it on another one, and taking nodes away.

Theory: an overlay is a qcow2 image added without a backing file; `blockdev-snapshot` puts it on a
node: everything that used the node now uses the overlay, the node becomes the overlay's backing file
and, once the transaction is committed, read-only.  From then on the node's content is a part of that
instant, and the overlay starts with the same content.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from attrs import evolve

from planner.semantics.block import (
    FILTER_DRIVERS,
    committing,
    device_of,
    device_or_node_name,
    set_active,
)
from planner.semantics.result import CommandResult, generic
from planner.semantics.state import BlockGraph, Node, VmState

__all__ = [
    "append_overlay",
    "automatic_name",
    "blockdev_add",
    "blockdev_del",
    "blockdev_set_active",
    "name_problem",
    "overlay_problem",
    "remove_overlay",
    "set_read_only",
]

_WELL_FORMED = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
_NODE_NAME_LIMIT = 31
_FORMATS = frozenset({"qcow2", "raw"})
_COMMITS = "block device is in use by block job: commit"
DEFAULT_OVERLAY_BYTES = 8 * 2**20


def automatic_name(number: int) -> str:
    """A node name like those that QEMU makes up: a counter and two more digits."""
    return f"#block{number}{(number * 37 + 67) % 100:02d}"


# --- blockdev-add ----------------------------------------


def blockdev_add(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """`blockdev-add` of a file, a format over a file, or a filter over either.

    The simulated host has every file that is named, of `DEFAULT_OVERLAY_BYTES` or the size of what
    it is put on later; a file that was open before has the snapshots that it had then.
    """
    problem = _add_problem(state, arguments)
    if problem:
        return CommandResult(state, error=generic(problem))
    return CommandResult(_add_tree(state, arguments, owned=True)[0], {})


def _add_problem(state: VmState, options: Mapping[str, Any]) -> str:
    if "node-name" not in options:
        return "'node-name' must be specified for the root node"
    return _tree_problem(state, options) or _locks_problem(state, options)


def _tree_problem(state: VmState, options: Mapping[str, Any]) -> str:
    child = options.get("file")
    problem = ""
    if isinstance(child, dict):
        problem = _tree_problem(state, child)
    elif isinstance(child, str):
        problem = _reference_problem(state, child)
    if problem:
        return problem
    return _unmodelled(options) or name_problem(state, options.get("node-name"))


def _unmodelled(options: Mapping[str, Any]) -> str:
    driver = options["driver"]
    if driver not in _FORMATS | FILTER_DRIVERS - {"mirror_top"} | {"file", "null-co"}:
        return f"the simulator does not model the block driver '{driver}'"
    if options.get("backing") is not None:
        return "the simulator does not model blockdev-add with a backing file; use backing: null"
    return ""


def _reference_problem(state: VmState, name: str) -> str:
    if state.graph.get(name) is None:
        return f"Cannot find device='{name}' nor node-name='{name}'"
    return ""


def name_problem(state: VmState, name: str | None) -> str:
    """Why a new node cannot have this name; empty if it can, or if QEMU is to make one up."""
    if name is None:
        return ""
    if not _WELL_FORMED.fullmatch(name):
        return f"Invalid node-name: '{name}'"
    if any(device.name == name for device in state.devices):
        return f"node-name={name} is conflicting with a device id"
    if state.graph.get(name):
        return f"Duplicate nodes with node-name='{name}'"
    if len(name) > _NODE_NAME_LIMIT:
        return "Node name too long"
    return ""


def _locks_problem(state: VmState, options: Mapping[str, Any]) -> str:
    """Files are locked last, when permissions are asked for: every name was checked by then."""
    child = options.get("file")
    below = _locks_problem(state, child) if isinstance(child, dict) else ""
    return below or _lock_problem(state, options)


def _lock_problem(state: VmState, options: Mapping[str, Any]) -> str:
    if options["driver"] != "file" or options.get("read-only"):
        return ""
    holders = (node for node in state.graph.nodes if node.filename == options["filename"])
    taken = any(node.driver == "file" and not node.read_only for node in holders)
    return 'Failed to get "write" lock' if taken else ""


def _add_tree(state: VmState, options: Mapping[str, Any], *, owned: bool) -> tuple[VmState, Node]:
    child = options.get("file")
    below: Node | None = None
    if isinstance(child, dict):
        state, below = _add_tree(state, child, owned=False)
    elif isinstance(child, str):
        below = state.graph.node(child)
    name = options.get("node-name")
    if name is None:
        name = automatic_name(state.automatic_nodes)
        state = evolve(state, automatic_nodes=state.automatic_nodes + 1)
    node = Node(
        name=name,
        driver=options["driver"],
        filename=options.get("filename", below.filename if below else ""),
        size_bytes=below.size_bytes if below else DEFAULT_OVERLAY_BYTES,
        read_only=bool(options.get("read-only", False)),
        file=below.name if below else "",
        owned=owned,
    )
    if node.driver == "qcow2":
        node = evolve(node, layer=dict(state.images).get(node.filename, node.layer))
    return evolve(state, graph=BlockGraph((*state.graph.nodes, node))), node


# --- blockdev-del ----------------------------------------


def blockdev_del(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """`blockdev-del`: a node of the monitor's own that nobody uses, with what is below it."""
    name = cast("str", arguments["node-name"])
    node = state.graph.get(name)
    if node is None:
        text = f"Failed to find node with node-name='{name}'"
        return CommandResult(state, error=generic(text))
    problem = _del_problem(state, node)
    if problem:
        return CommandResult(state, error=generic(problem))
    return CommandResult(_without(state, {name}), {})


def _del_problem(state: VmState, node: Node) -> str:
    parents = state.graph.parents.get(node.name, ())
    backs = [parent for parent, role in parents if role == "backing"]
    if committing(state, node):
        return _in_commit(state, node)
    if backs:
        return f"Node '{node.name}' is busy: node is used as backing hd of '{backs[0]}'"
    device = device_of(state, node)
    if device is not None and device.name:
        return f"Node {node.name} is in use"
    if not node.owned:
        return f"Node {node.name} is not owned by the monitor"
    if device is not None or parents:
        return f"Node {node.name} is in use"
    return ""


def _in_commit(state: VmState, node: Node) -> str:
    job = committing(state, node)
    if job and job.commit and node.name in {job.commit.source, *job.commit.between}:
        return f"Node '{node.name}' is busy: {_COMMITS}"
    return f"Node {node.name} is in use"


def _without(state: VmState, names: set[str]) -> VmState:
    """The state without these nodes, and without what only they used."""
    graph = state.graph
    used = {device.node for device in state.devices}  # a drive's node under an undone overlay
    gone = set(names)
    waiting = list(names)
    while waiting:
        for _, child in graph.node(waiting.pop()).children:
            users = {parent for parent, _ in graph.parents[child]}
            if users <= gone and child not in used and not graph.node(child).owned:
                gone.add(child)
                waiting.append(child)
    left = tuple(node for node in graph.nodes if node.name not in gone)
    closed = {n.filename: n.layer for n in graph.nodes if n.name in gone and n.driver == "qcow2"}
    images = dict(state.images) | closed
    kept = tuple((file, images[file]) for file in sorted(images) if images[file].snapshots)
    return evolve(state, graph=BlockGraph(left), images=kept)


# --- blockdev-snapshot ----------------------------------------


def overlay_problem(state: VmState, node: Node, overlay_name: str) -> str:
    """Why this overlay cannot be put on this node; empty if it can."""
    backs = [p for p, role in state.graph.parents.get(node.name, ()) if role == "backing"]
    shown = device_or_node_name(state, node)
    if committing(state, node):
        return f"Node '{shown}' is busy: {_COMMITS}"
    if backs:
        return f"Node '{shown}' is busy: node is used as backing hd of '{backs[0]}'"
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

    Read-only once an overlay is committed on it; writable when a `block-commit` writes to it.
    """
    used = {device.node for device in state.devices}
    nodes: list[Node] = []
    waiting = [name]
    while waiting:
        node = state.graph.node(waiting.pop())
        nodes.append(evolve(node, read_only=read_only))
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
