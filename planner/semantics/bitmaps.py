"""Dirty bitmaps, as far as they matter here: one on a node makes a load fail half way (fact 20)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from attrs import evolve

from planner.model.facts import Bitmap
from planner.semantics.block import lookup
from planner.semantics.result import CommandResult, generic
from planner.semantics.state import VmState

__all__ = ["bitmap_add", "bitmap_remove"]


def bitmap_add(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """The command `block-dirty-bitmap-add`."""
    wanted, name = cast("str", arguments["node"]), cast("str", arguments["name"])
    if not name:
        return CommandResult(state, error=generic("Bitmap name cannot be empty"))
    node = lookup(state, wanted)
    if node is None:
        text = f"Cannot find device='{wanted}' nor node-name='{wanted}'"
        return CommandResult(state, error=generic(text))
    if any(bitmap.name == name for bitmap in node.bitmaps):
        return CommandResult(state, error=generic(f"Bitmap already exists: {name}"))
    bitmap = Bitmap(name, persistent=bool(arguments.get("persistent", False)))
    return CommandResult(state.with_nodes(evolve(node, bitmaps=(*node.bitmaps, bitmap))), {})


def bitmap_remove(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """The command `block-dirty-bitmap-remove`."""
    wanted, name = cast("str", arguments["node"]), cast("str", arguments["name"])
    node = lookup(state, wanted)
    if node is None:
        text = f"Cannot find device='{wanted}' nor node-name='{wanted}'"
        return CommandResult(state, error=generic(text))
    left = tuple(bitmap for bitmap in node.bitmaps if bitmap.name != name)
    if left == node.bitmaps:
        return CommandResult(state, error=generic(f"Dirty bitmap '{name}' not found"))
    return CommandResult(state.with_nodes(evolve(node, bitmaps=left)), {})
