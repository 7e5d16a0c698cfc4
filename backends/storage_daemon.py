"""A storage daemon as what a QEMU would be that has its exports for disks, and no machine.

`qemu-storage-daemon` lacks whatever concerns a guest: run states, migrations, the machine itself.  It
has the block layer, with its transactions.  So here the few questions that it does not know, or answers
with nothing, are answered from what it does say (facts 120 and 121): its disks are the nodes that it
exports.

Rules: only questions are answered here; a command that changes something goes through as it is, and is
refused as the daemon refuses it.  A peer is taken for a daemon only if it has no run state, and knows of
exports.  An answer is built from checked values; one of another shape is a refusal: nothing was done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from backends.block_tree import tops_with_below
from planner.errors import CannotConnect
from planner.model.answer import answer_objects
from planner.run.ports import CommandRefused

__all__ = ["ANSWERED_FOR_DAEMONS", "answer_for_daemon"]

Ask = Callable[[str, Mapping[str, object]], Awaitable[object]]

ANSWERED_FOR_DAEMONS = frozenset(
    {"query-status", "query-migrate", "query-block", "query-blockstats", "qom-get"}
)
"""Questions that a daemon does not know, or answers with nothing."""

_MACHINE_TYPE = {"path": "/machine", "property": "type"}
_GOES_ON = {"status": "running", "running": True}
"""What is served goes on whatever is asked: nothing here can stop it, as a guest is stopped."""
_NOT_THERE = ("CommandNotFound", "DeviceNotFound")


async def answer_for_daemon(ask: Ask, command: str, arguments: Mapping[str, object]) -> object:
    """Ask a peer; where it turns out to be a storage daemon, its answer as a QEMU would give it.

    Args:
        ask: Asks the peer itself; raises what `planner.run.ports.Backend.execute` does.
        command: One of `ANSWERED_FOR_DAEMONS`.
        arguments: With it.

    Raises:
        CommandRefused: The peer refuses, or what a daemon says of its exports has another shape.
    """
    if arguments != (_MACHINE_TYPE if command == "qom-get" else {}):
        return await ask(command, arguments)
    try:
        answer = await ask(command, arguments)
    except CommandRefused as refused:
        if refused.error_class not in _NOT_THERE or (exports := await _exports(ask)) is None:
            raise
    else:
        if answer != [] or (exports := await _exports(ask)) is None:
            return answer
    try:
        return await _answer(ask, command, exports)
    except CannotConnect as malformed:
        raise CommandRefused("snapplan", malformed.message) from malformed


async def _exports(ask: Ask) -> object | None:
    """What a daemon exports; None: the peer is no daemon."""
    try:
        await ask("query-status", {})
    except CommandRefused as refused:
        if refused.error_class != "CommandNotFound":
            return None
    else:
        return None
    try:
        return await ask("query-block-exports", {})
    except CommandRefused:
        return None


async def _answer(ask: Ask, command: str, exports: object) -> object:
    if command == "query-status":
        return dict(_GOES_ON)
    if command == "query-migrate":
        return {}
    if command == "qom-get":
        return ""
    exported = sorted(
        (each.text("id"), each.text("node-name"))
        for each in answer_objects(exports, "query-block-exports")
    )
    if command == "query-blockstats":
        graph = await ask("x-debug-query-block-graph", {})
        return tops_with_below(graph, {node for _, node in exported})
    nodes = await ask("query-named-block-nodes", {"flat": True})
    by_name = {
        each.text("node-name"): each.value
        for each in answer_objects(nodes, "query-named-block-nodes")
    }
    return [
        {
            "device": "",
            "qdev": export_id,
            "inserted": by_name.get(node, {"node-name": node}),
        }
        for export_id, node in exported
    ]
