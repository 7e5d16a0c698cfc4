"""Adding nodes to QEMU's graph, and taking them away: `blockdev-add` and `blockdev-del`.

Theory: a node is named by whoever adds it, and is the monitor's own until it is taken away; what only it
used goes with it.  An image that is closed keeps what it holds, and has it when it is opened again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from attrs import evolve

from planner.semantics.block import (
    FILTER_DRIVERS,
    committing,
    copying,
    device_of,
    is_used,
    kept_by_copy,
    write_locked,
)
from planner.semantics.descriptors import set_problem
from planner.semantics.result import NOT_MODELLED, CommandResult, generic
from planner.semantics.state import BlockGraph, MadeFile, Node, VmState

__all__ = [
    "COPIES",
    "LOCKED",
    "add_tree",
    "automatic_name",
    "blockdev_add",
    "blockdev_del",
    "name_problem",
    "tree_problem",
    "without_nodes",
    "why_busy",
]

_WELL_FORMED = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
_NODE_NAME_LIMIT = 31
_FORMATS = frozenset({"qcow2", "raw"})
LOCKED = 'Failed to get "write" lock'
"""QEMU's words where somebody else keeps a file."""
_COMMITS = "block device is in use by block job: commit"
"""Why a node is busy that a merge works on, in QEMU's words."""
COPIES = "block device is in use by block job: backup"
"""The same of a copy."""
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
    return CommandResult(add_tree(state, arguments, owned=True)[0], {})


def _add_problem(state: VmState, options: Mapping[str, Any]) -> str:
    if "node-name" not in options:
        return "'node-name' must be specified for the root node"
    alone = options["driver"] == "file"  # a file that no node uses is not locked
    return tree_problem(state, options) or ("" if alone else _locks_problem(state, options))


def tree_problem(state: VmState, options: Mapping[str, Any], under: str = "") -> str:
    """Why these nodes cannot be made: a name that is missing or taken, a driver that is not modelled."""
    child = options.get("file")
    problem = ""
    if isinstance(child, dict):
        problem = tree_problem(state, child, under=str(options["driver"]))
    elif isinstance(child, str):
        problem = _reference_problem(state, child)
    if problem:
        return problem
    return (
        _unmodelled(options, under)
        or _no_set(state, options)
        or name_problem(state, options.get("node-name"))
        or _no_image(state, options)
    )


def _unmodelled(options: Mapping[str, Any], under: str) -> str:
    driver = options["driver"]
    if driver not in _FORMATS | FILTER_DRIVERS - {"mirror_top"} | {"file", "null-co"}:
        return f"{NOT_MODELLED} the block driver '{driver}'"
    if options.get("backing") is not None and not _is_layer(options, under):
        return f"{NOT_MODELLED} blockdev-add with a backing file; use backing: null"
    return ""


def _is_layer(options: Mapping[str, Any], under: str) -> bool:
    """Whether it is a layer over another image's own bytes, which takes what is written to these."""
    below = options["backing"]
    over_file = isinstance(below, dict) and below["driver"] == "file" and below.get("read-only")
    return under == options["driver"] == "qcow2" and bool(over_file)


def _no_set(state: VmState, options: Mapping[str, Any]) -> str:
    below = options.get("backing")
    names = [options.get("filename"), below.get("filename") if isinstance(below, dict) else None]
    problems = (set_problem(state, name) for name in names if isinstance(name, str))
    return next(filter(None, problems), "")


def _no_image(state: VmState, options: Mapping[str, Any]) -> str:
    """A file that was made and holds nothing yet is no image (fact 153)."""
    child = options.get("file")
    filename = child.get("filename", "") if isinstance(child, dict) else ""
    if isinstance(child, str):
        filename = state.graph.node(child).filename
    made = _made(state, filename)
    if options["driver"] == "qcow2" and made is not None and made.format != "qcow2":
        return "Image is not in qcow2 format"
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
    if isinstance(child, str):
        node = state.graph.node(child)
        below = "" if is_used(state, node) else _lock_of(state, node.filename)
    return below or _lock_problem(state, options)


def _lock_problem(state: VmState, options: Mapping[str, Any]) -> str:
    if options["driver"] != "file" or options.get("read-only"):
        return ""
    return _lock_of(state, options["filename"])


def _lock_of(state: VmState, filename: str) -> str:
    return LOCKED if write_locked(state, filename) else ""


def add_tree(state: VmState, options: Mapping[str, Any], *, owned: bool) -> tuple[VmState, Node]:
    """Make a node and what is below it; the state with them, and the node."""
    child = options.get("file")
    below: Node | None = None
    if isinstance(child, dict):
        state, below = add_tree(state, child, owned=False)
    elif isinstance(child, str):
        below = state.graph.node(child)
    name = options.get("node-name")
    if name is None:
        name = automatic_name(state.automatic_nodes)
        state = evolve(state, automatic_nodes=state.automatic_nodes + 1)
    filename = options.get("filename", below.filename if below else "")
    node = Node(
        name=name,
        driver=options["driver"],
        filename=filename,
        size_bytes=_size(state, options["driver"], filename, below),
        read_only=bool(options.get("read-only", False)),
        file=below.name if below else "",
        owned=owned,
    )
    if node.driver == "qcow2":
        read = _read_from(options, node.filename)
        node = evolve(node, layer=dict(state.images).get(read, node.layer))
    return evolve(state, graph=BlockGraph((*state.graph.nodes, node))), node


def _size(state: VmState, driver: str, filename: str, below: Node | None) -> int:
    """Of an image that a command made, what it was made with."""
    made = _made(state, filename)
    if made is not None and made.format in (driver, ""):
        return made.size_bytes
    return below.size_bytes if below else DEFAULT_OVERLAY_BYTES


def _made(state: VmState, filename: str) -> MadeFile | None:
    return next((each for each in state.made if each.filename == filename), None)


def _read_from(options: Mapping[str, Any], filename: str) -> str:
    """The file whose bytes an image is: of one over a layer, what lies under that."""
    child = options.get("file")
    below = child.get("backing") if isinstance(child, dict) else None
    return str(below["filename"]) if isinstance(below, dict) else filename


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
    return CommandResult(without_nodes(state, {name}), {})


def _del_problem(state: VmState, node: Node) -> str:
    parents = state.graph.parents.get(node.name, ())
    backs = [parent for parent, role in parents if role == "backing"]
    if committing(state, node):
        return _in_commit(state, node)
    if node.name in _copied(state):
        return f"Node '{node.name}' is busy: {COPIES}"
    if backs:
        return f"Node '{node.name}' is busy: node is used as backing hd of '{backs[0]}'"
    device = device_of(state, node)
    if device is not None and device.name:
        return f"Node {node.name} is in use"
    if not node.owned:
        return f"Node {node.name} is not owned by the monitor"
    if device is not None:
        return f"Node {node.name} is in use"
    return f"Block device {node.name} is in use" if parents else ""


def _copied(state: VmState) -> set[str]:
    """The nodes that jobs which copy a disk keep for themselves."""
    return {name for work in copying(state) for name in (work.source, work.target)}


def _in_commit(state: VmState, node: Node) -> str:
    job = committing(state, node)
    if job and job.commit and node.name in {job.commit.source, *job.commit.between}:
        return f"Node '{node.name}' is busy: {_COMMITS}"
    return f"Node {node.name} is in use"


def why_busy(state: VmState, node: Node) -> str:
    """What keeps a node busy, in QEMU's words: a job, or an image over it; empty: nothing."""
    if committing(state, node):
        return _COMMITS
    if kept_by_copy(state, node):
        return COPIES
    backs = [parent for parent, role in state.graph.parents.get(node.name, ()) if role == "backing"]
    return f"node is used as backing hd of '{backs[0]}'" if backs else ""


def without_nodes(state: VmState, names: set[str]) -> VmState:
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
    over = {n.file for n in graph.nodes if n.driver == "qcow2"}
    layers = {n.name for n in graph.nodes if n.driver == "qcow2" and n.name in over}
    closed = {
        n.filename: n.layer
        for n in graph.nodes
        if n.name in gone and n.driver == "qcow2" and not {n.name, n.file} & layers
    }
    images = dict(state.images) | closed
    kept = tuple((file, images[file]) for file in sorted(images) if images[file].snapshots)
    return evolve(state, graph=BlockGraph(left), images=kept)
