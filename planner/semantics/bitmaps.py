"""Dirty bitmaps: added, removed, cleared, switched on and off, merged, alone or in a transaction.

What they count is not modelled: a bitmap is its name, whether it is kept in the image, and whether it
records.  One on a node makes a load fail half way (fact 20).

Rules: an action of a transaction does at its preparation all that it does, and leaves the bitmaps of
before with its commit step, so that an abort has them back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

from attrs import evolve

from planner.model.facts import Bitmap
from planner.semantics.block import lookup
from planner.semantics.node_bitmap import NodeBitmap, granularity_of, records
from planner.semantics.result import (
    CommandResult,
    InjectedFailure,
    MicroStep,
    StepEffect,
    generic,
)
from planner.semantics.state import Node, VmState

__all__ = ["BITMAP_ACTIONS", "bitmap_command", "bitmap_step", "prepare_bitmap", "put_back"]

_LEAST_GRANULARITY = 512
_Found = tuple[Node | None, str]


def bitmap_command(name: str) -> Callable[[VmState, Mapping[str, object]], CommandResult]:
    """One of the commands `BITMAP_ACTIONS`."""

    def command(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
        after, problem = BITMAP_ACTIONS[name](state, arguments)
        return CommandResult(state, error=generic(problem)) if problem else CommandResult(after, {})

    return command


def bitmap_step(kind: str, data: Mapping[str, Any], number: int) -> MicroStep:
    """The step of a transaction that prepares one of `BITMAP_ACTIONS`."""
    told = json.dumps(data, sort_keys=True)
    return MicroStep("prepare-bitmap", data["node"], kind, detail=told, number=number)


def prepare_bitmap(state: VmState, step: MicroStep) -> tuple[VmState, MicroStep | None, str]:
    """Do the action; its commit step, or why it cannot be done."""
    found = lookup(state, step.node)
    after, problem = BITMAP_ACTIONS[step.tag](state, json.loads(step.detail))
    if problem:
        return state, None, problem
    before = json.dumps(
        [[b.name, b.persistent, records(b), granularity_of(b)] for b in cast("Node", found).bitmaps]
    )
    name = cast("Node", found).name
    return after, MicroStep("commit-bitmap", name, detail=before, number=step.number), ""


def put_back(state: VmState, step: MicroStep, _failure: InjectedFailure | None) -> StepEffect:
    """Have the bitmaps of before again: the transaction is aborted."""
    before = tuple(NodeBitmap(*each) for each in json.loads(step.detail))
    return StepEffect(_with_bitmaps(state, state.graph.node(step.node), before))


def _with_bitmaps(state: VmState, node: Node, bitmaps: tuple[Bitmap, ...]) -> VmState:
    return state.with_nodes(evolve(node, bitmaps=bitmaps))


def _add(state: VmState, arguments: Mapping[str, object]) -> tuple[VmState, str]:
    wanted, name = cast("str", arguments["node"]), cast("str", arguments["name"])
    if not name:
        return state, "Bitmap name cannot be empty"
    node = lookup(state, wanted)
    if node is None:
        return state, f"Cannot find device='{wanted}' nor node-name='{wanted}'"
    granularity = cast("int", arguments.get("granularity", 65536))
    if granularity < _LEAST_GRANULARITY or granularity & (granularity - 1):
        return state, "Granularity must be power of 2 and at least 512"
    if any(bitmap.name == name for bitmap in node.bitmaps):
        return state, f"Bitmap already exists: {name}"
    bitmap = NodeBitmap(
        name,
        persistent=bool(arguments.get("persistent", False)),
        recording=not arguments.get("disabled", False),
        granularity=granularity,
    )
    return _with_bitmaps(state, node, (bitmap, *node.bitmaps)), ""


def _find(state: VmState, arguments: Mapping[str, object], name: str) -> _Found:
    wanted = cast("str", arguments["node"])
    node = lookup(state, wanted)
    if node is None:
        return None, f"Node '{wanted}' not found"
    if all(bitmap.name != name for bitmap in node.bitmaps):
        return None, f"Dirty bitmap '{name}' not found"
    return node, ""


def _remove(state: VmState, arguments: Mapping[str, object]) -> tuple[VmState, str]:
    name = cast("str", arguments["name"])
    node, problem = _find(state, arguments, name)
    if node is None:
        return state, problem
    left = tuple(bitmap for bitmap in node.bitmaps if bitmap.name != name)
    return _with_bitmaps(state, node, left), ""


def _clear(state: VmState, arguments: Mapping[str, object]) -> tuple[VmState, str]:
    _, problem = _find(state, arguments, cast("str", arguments["name"]))
    return state, problem


def _switch(state: VmState, arguments: Mapping[str, object], *, on: bool) -> tuple[VmState, str]:
    name = cast("str", arguments["name"])
    node, problem = _find(state, arguments, name)
    if node is None:
        return state, problem
    switched = tuple(
        NodeBitmap(b.name, b.persistent, on, granularity_of(b)) if b.name == name else b
        for b in node.bitmaps
    )
    return _with_bitmaps(state, node, switched), ""


def _merge(state: VmState, arguments: Mapping[str, object]) -> tuple[VmState, str]:
    _, problem = _find(state, arguments, cast("str", arguments["target"]))
    for source in cast("list[str | dict[str, str]]", arguments["bitmaps"]):
        if problem:
            break
        other = {"node": arguments["node"], "name": source} if isinstance(source, str) else source
        _, problem = _find(state, other, cast("str", other["name"]))
    return state, problem


BITMAP_ACTIONS: dict[str, Callable[[VmState, Mapping[str, object]], tuple[VmState, str]]] = {
    "block-dirty-bitmap-add": _add,
    "block-dirty-bitmap-remove": _remove,
    "block-dirty-bitmap-clear": _clear,
    "block-dirty-bitmap-enable": lambda state, a: _switch(state, a, on=True),
    "block-dirty-bitmap-disable": lambda state, a: _switch(state, a, on=False),
    "block-dirty-bitmap-merge": _merge,
}
"""What each command, and each action of a transaction, makes of a VM; or why it is refused."""
