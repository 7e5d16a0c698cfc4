"""What lies below each node, from the block graph: as `query-blockstats` nests it for a guest's devices.

A storage daemon has no devices, and `query-blockstats` says nothing of backing images where it is asked
for nodes (fact 121).  The graph has every edge.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field

from planner.model.answer import AnswerObject, malformed

__all__ = ["tops_with_below"]

_WHAT = "x-debug-query-block-graph"
_MOST_NODES = 200_000
"""An image that is under many others is written out under each; a peer must not fill our memory so."""

Below = dict[str, object]


def tops_with_below(graph: object, also: Iterable[str] = ()) -> list[Below]:
    """Every node that no other one lies over, each with what lies below it.

    Args:
        graph: An answer to `x-debug-query-block-graph`.
        also: Names of nodes that are wanted in any case.

    Returns:
        Entries as `query-blockstats` has them: ``node-name``, ``parent`` for what a node is kept in,
        ``backing``.

    Raises:
        CannotConnect: The answer has another shape, or is no tree.
    """
    top = AnswerObject.of(graph, _WHAT)
    names = {
        node.number("id"): node.text("name")
        for node in top.members("nodes")
        if node.text("type") == "block-driver"
    }
    children: dict[str, dict[str, str]] = {}
    for edge in top.members("edges"):
        over, under = names.get(edge.number("parent")), names.get(edge.number("child"))
        if over is not None and under is not None:
            children.setdefault(over, {})[edge.text("name")] = under
    under_some = {child for roles in children.values() for child in roles.values()}
    wanted = (set(names.values()) - under_some) | (set(also) & set(names.values()))
    tree = _Tree(children)
    return [tree.below(name, ()) for name in sorted(wanted)]


@define
class _Tree:
    """Writes out what lies below a node."""

    children: dict[str, dict[str, str]]
    _made: int = field(init=False, default=0)

    def below(self, name: str, above: tuple[str, ...]) -> Below:
        self._made += 1
        if name in above or self._made > _MOST_NODES:
            raise malformed(_WHAT, f"{name[:40]!r} lies below itself, or below too much")
        roles = self.children.get(name, {})
        path = (*above, name)
        found: Below = {"node-name": name}
        # A job's filter has its child as a backing node only, and that is what it filters.
        kept_in = roles.get("file") or roles.get("backing")
        if kept_in is not None:
            found["parent"] = self.below(kept_in, path)
        if "file" in roles and "backing" in roles:
            found["backing"] = self.below(roles["backing"], path)
        return found
