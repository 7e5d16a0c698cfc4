"""`blockdev-snapshot-sync`: an overlay that QEMU makes, opens and puts on while it prepares the action.

A transaction that fails takes the overlay off again and closes it; its file stays (fact 26).  A node
that goes by a name must be given one for its overlay, a ``-drive`` need not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from attrs import evolve

from planner.semantics.block import lookup
from planner.semantics.nodes import add_tree, name_problem, tree_problem, without_nodes
from planner.semantics.overlay import append_overlay, on_busy_node, remove_overlay
from planner.semantics.result import InjectedFailure, MicroStep
from planner.semantics.state import Node, VmState

__all__ = ["make_overlay", "overlay_step", "take_off"]

_FORMAT = "qcow2"


def overlay_step(data: Mapping[str, object], number: int) -> MicroStep:
    """The action's preparation."""
    return MicroStep("prepare-overlay-sync", detail=json.dumps(dict(data)), number=number)


def make_overlay(
    state: VmState, step: MicroStep, failure: InjectedFailure | None
) -> tuple[VmState, MicroStep | None, str]:
    """Make and put on an overlay.

    Returns:
        The state after it; what is to be done when all is prepared (None: it failed); why.
    """
    data = cast("dict[str, str]", json.loads(step.detail))
    node, problem = _target(state, data)
    if problem or node is None:
        return state, None, problem
    problem = _name_problem(state, data) or (failure.text if failure else "")
    if problem:
        return state, None, problem
    options: dict[str, object] = {
        "driver": data.get("format", _FORMAT),
        "file": {"driver": "file", "filename": data["snapshot-file"]},
    }
    if "snapshot-node-name" in data:
        options["node-name"] = data["snapshot-node-name"]
    problem = tree_problem(state, options)
    if not problem and options["driver"] != _FORMAT:
        problem = f"Backing file not supported for file format '{options['driver']}'"
    if problem:
        return state, None, problem
    if data.get("mode") != "existing":  # what the file held is overwritten
        kept = tuple(each for each in state.images if each[0] != data["snapshot-file"])
        state = evolve(state, images=kept)
    state, overlay = add_tree(state, options, owned=False)
    overlay = evolve(overlay, size_bytes=node.size_bytes)
    state = append_overlay(state.with_nodes(overlay), overlay, node)
    commit = MicroStep("commit-overlay-sync", node.name, detail=overlay.name, number=step.number)
    return state, commit, ""


def take_off(state: VmState, step: MicroStep) -> VmState:
    """Undo it; the file stays, empty."""
    return without_nodes(remove_overlay(state, step.detail, step.node), {step.detail})


def _target(state: VmState, data: Mapping[str, str]) -> tuple[Node | None, str]:
    device, name = data.get("device", ""), data.get("node-name", "")
    # ``device`` is a -drive's id alone here, unlike in the other actions
    is_drive = any(one.name == device for one in state.devices if one.name)
    node = lookup(state, device) if is_drive else None
    if node is None and name:
        node = state.graph.get(name)
    if node is None:
        return None, f"Cannot find device='{device}' nor node-name='{name}'"
    return node, on_busy_node(state, node)


def _name_problem(state: VmState, data: Mapping[str, str]) -> str:
    name = data.get("snapshot-node-name")
    if name is None:
        return "New overlay node-name missing" if "node-name" in data else ""
    if lookup(state, name) is not None:
        return "New overlay node-name already in use"
    return name_problem(state, name)
