"""The block graph: which node a name means, and what a node can do.

Theory: a disk is a chain of nodes.  A *filter* (throttle and the like) passes everything to its
child; a *format* node (qcow2, raw) interprets its protocol node; an overlay reads what it lacks from
its backing node.  QEMU's commands differ in which names they take (fact 11), and the differences are
here: `lookup` for the transaction commands, `find_node` for the jobs.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve

from planner.semantics import qcow2
from planner.semantics.qcow2 import Qcow2Image
from planner.semantics.state import Backup, BlockBackend, BlockGraph, Job, Node, VmState

__all__ = [
    "FILTER_DRIVERS",
    "PROTOCOL_DRIVERS",
    "can_snapshot",
    "committing",
    "copying",
    "content_node",
    "device_of",
    "device_or_node_name",
    "find_node",
    "find_snapshot",
    "is_root",
    "is_used",
    "keeps_size",
    "kept_by_copy",
    "lookup",
    "passes_on",
    "set_active",
    "snapshot_node",
    "snapshots_listable",
    "writable_device_nodes",
    "with_layer",
    "write_locked",
]

FILTER_DRIVERS = frozenset(
    {"throttle", "copy-on-read", "compress", "preallocate", "copy-before-write", "mirror_top"}
)
PROTOCOL_DRIVERS = frozenset({"file", "host_device", "nbd", "null-co", "blkdebug", "ssh", "https"})


def find_node(state: VmState, name: str) -> Node | None:
    """A node by its node name: what the snapshot jobs take (fact 11)."""
    return state.graph.get(name)


def lookup(state: VmState, name: str) -> Node | None:
    """A node by a ``-drive`` id, else by its node name: what the transaction commands take."""
    for device in state.devices:
        if device.name and device.name == name:
            return state.graph.get(device.node)
    return state.graph.get(name)


def is_root(state: VmState, node: Node) -> bool:
    """Whether no other node and no block job is above it ("Need a root block node")."""
    if kept_by_copy(state, node):
        return False
    return node.name not in state.graph.parents and committing(state, node) is None


def copying(state: VmState) -> Iterator[Backup]:
    """The copies of disks that are under way."""
    return (job.backup for job in state.jobs if job.backup and job.status != "concluded")


def kept_by_copy(state: VmState, node: Node) -> bool:
    """Whether a node is a copy's own: its filter, or its target."""
    return any(node.name in (work.filter, work.target) for work in copying(state))


def committing(state: VmState, node: Node) -> Job | None:
    """The commit job, not yet concluded, that uses a node: filter, overlay to base."""
    for job in state.jobs:
        commit = job.commit
        if commit is None or job.status == "concluded":
            continue
        if node.name in {commit.filter, commit.source, *commit.between, commit.target}:
            return job
    return None


def snapshot_node(graph: BlockGraph, node: Node) -> Node | None:
    """The qcow2 node that a snapshot of this node lands in: itself, or what it passes to.

    None where nothing below it can hold snapshots (raw over a file, a protocol node).
    """
    seen: Node | None = node
    while seen is not None and seen.driver != "qcow2":
        seen = graph.get(seen.file) if seen.file else None
    return seen


def can_snapshot(state: VmState, node: Node) -> bool:
    """Whether QEMU takes the node for able to hold snapshots.

    False for raw, read-only, backing and inactive nodes alike (fact 6), and for the filter of a copy,
    which has two nodes below it; true for an image with a data file, which then fails (fact 10).
    """
    if node.read_only or not node.active or node.driver == "copy-before-write":
        return False
    if node.driver == "qcow2":
        return True
    child = state.graph.get(node.file) if node.file else None
    return child is not None and can_snapshot(state, child)


def snapshots_listable(graph: BlockGraph, node: Node) -> Node | None:
    """The qcow2 node whose list can be read; an image with a data file has none."""
    found = snapshot_node(graph, node)
    return None if found is None or found.data_file else found


def with_layer(state: VmState, node: Node, layer: Qcow2Image) -> VmState:
    """The state with another layer in that node."""
    return state.with_nodes(evolve(node, layer=layer))


def passes_on(node: Node) -> bool:
    """Whether a node asks nothing of what is below it that is not asked of it: filters, and raw."""
    return node.driver in FILTER_DRIVERS | {"raw"}


def is_used(state: VmState, node: Node) -> bool:
    """Whether a device, a block job or an image that is open keeps others from writing to a node."""
    if device_of(state, node) is not None or committing(state, node) is not None:
        return True
    if any(node.name == work.target for work in copying(state)):
        return True
    parents = (state.graph.node(name) for name, _ in state.graph.parents.get(node.name, ()))
    return any(not passes_on(parent) or is_used(state, parent) for parent in parents)


def keeps_size(state: VmState, node: Node) -> bool:
    """Whether an image, an overlay or a copy's filter above a node keeps others from resizing it."""
    parents = (state.graph.node(name) for name, _ in state.graph.parents.get(node.name, ()))
    return any(
        parent.driver == "copy-before-write" or not passes_on(parent) or keeps_size(state, parent)
        for parent in parents
    )


def write_locked(state: VmState, filename: str) -> bool:
    """Whether a file is open for somebody who keeps others from writing to it.

    A node of it that nobody uses locks nothing.
    """
    files = (node for node in state.graph.nodes if node.driver == "file")
    return any(node.filename == filename and is_used(state, node) for node in files)


def content_node(graph: BlockGraph, node: Node) -> Node:
    """The node that holds what a device sees: the first that is no filter."""
    while node.driver in FILTER_DRIVERS and node.file:
        node = graph.node(node.file)
    return node


def writable_device_nodes(state: VmState) -> tuple[Node, ...]:
    """The nodes that the guest writes to, in the order of its devices, each once."""
    found: dict[str, Node] = {}
    for device in state.devices:
        root = state.graph.get(device.node)
        if root is None or root.read_only:
            continue
        node = content_node(state.graph, root)
        if not node.read_only and node.active:
            found[node.name] = node
    return tuple(found.values())


def set_active(state: VmState, *, active: bool, names: frozenset[str] | None = None) -> VmState:
    """Make nodes active or inactive: all of them, or those named and what is below them."""
    graph = state.graph
    if all(node.active == active for node in graph.nodes):
        return state
    chosen = set(graph.index) if names is None else _below(graph, names)
    nodes = tuple(
        evolve(node, active=active) if node.name in chosen and node.active != active else node
        for node in graph.nodes
    )
    return state if nodes == graph.nodes else evolve(state, graph=BlockGraph(nodes))


def _below(graph: BlockGraph, names: frozenset[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting += [child for _, child in graph.node(name).children]
    return found


def device_or_node_name(state: VmState, node: Node) -> str:
    """What QEMU calls a node in an error: the ``-drive`` id where there is one."""
    for device in state.devices:
        if device.node == node.name and device.name:
            return device.name
    return node.name


def device_of(state: VmState, node: Node) -> BlockBackend | None:
    """The block backend on a node, if there is one."""
    return next((device for device in state.devices if device.node == node.name), None)


def find_snapshot(state: VmState, node: Node, name: str) -> qcow2.LayerSnapshot | None:
    """The first snapshot of that name that a job finds on a node; none in a data-file image."""
    image = snapshots_listable(state.graph, node)
    return None if image is None else qcow2.find_by_name(image.layer, name)
