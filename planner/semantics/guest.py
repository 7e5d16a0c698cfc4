"""A guest that works while it runs: it changes its memory and writes to its disks.

Rules: a guest step is possible only while the guest really runs.  It gives the machine a new
version, and the disks it writes the same one, from a counter that never goes back: so "these parts
are of one instant" is an equality of numbers.  A disk that a transaction has drained cannot be
written (fact 24): its requests wait.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from planner.semantics.block import content_node, lookup, writable_device_nodes
from planner.semantics.state import Node, VmState

__all__ = ["DEFAULT_STEP_NS", "advance_host", "drained_nodes", "guest_can_run", "guest_step"]

DEFAULT_STEP_NS = 10_000_000


def guest_can_run(state: VmState) -> bool:
    """Whether the guest executes instructions right now."""
    return state.running and not state.frozen and not state.died


def drained_nodes(state: VmState) -> frozenset[str]:
    """The image nodes that a transaction under way keeps from being written."""
    commits = (step.node for step in state.pending if step.op.startswith("commit-"))
    nodes = (state.graph.get(name) for name in commits)
    return frozenset(content_node(state.graph, node).name for node in nodes if node is not None)


def guest_step(
    state: VmState, disks: Iterable[str] | None = None, *, elapsed_ns: int = DEFAULT_STEP_NS
) -> VmState:
    """Let the guest work once: memory changes, and disks are written.

    Args:
        state: The VM.
        disks: Names of the nodes (or ``-drive`` ids) to write; None for every writable disk.  What
            the guest cannot write (read-only, drained, inactive) is left out.
        elapsed_ns: How much of the guest's time passes.

    Returns:
        The state after it; the same state if the guest does not run.
    """
    if not guest_can_run(state):
        return state
    version = state.versions_used + 1
    drained = drained_nodes(state)
    written = [
        evolve(node, layer=evolve(node.layer, content=version))
        for node in _targets(state, disks)
        if node.name not in drained
    ]
    moved = evolve(
        state,
        machine_version=version,
        versions_used=version,
        clock_ns=state.clock_ns + elapsed_ns,
    )
    return moved.with_nodes(*written) if written else moved


def _targets(state: VmState, disks: Iterable[str] | None) -> tuple[Node, ...]:
    if disks is None:
        return writable_device_nodes(state)
    named = (lookup(state, name) for name in disks)
    attached = {device.node for device in state.devices}
    found: dict[str, Node] = {}
    for root in named:
        if root is None or root.read_only or root.name not in attached:
            continue
        node = content_node(state.graph, root)
        if not node.read_only and node.active:
            found[node.name] = node
    return tuple(found.values())


def advance_host(state: VmState, elapsed_ns: int) -> VmState:
    """Let the host's clock go on: only dates in replies depend on it."""
    return evolve(state, host_ns=state.host_ns + elapsed_ns)
