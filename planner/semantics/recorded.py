"""Making a state from recorded replies: what a QEMU answered becomes a QEMU that answers so.

Theory: `query-named-block-nodes` names every node, but before 11.1 not what is below what.  Where
`x-debug-query-block-graph` was recorded too, its edges say it.  Else it is guessed as a person would:
a format node's protocol node stands for the same file, a backing node for the backing file's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from attrs import evolve

from planner.errors import BadInput
from planner.model.facts import Bitmap, SnapshotInfo
from planner.model.peripherals import ANONYMOUS, NAMED, devices_of
from planner.semantics.block import FILTER_DRIVERS, PROTOCOL_DRIVERS
from planner.semantics.construct import EPOCH_NS
from planner.semantics.qcow2 import LayerSnapshot, Qcow2Image, Vmstate
from planner.semantics.state import (
    BlockBackend,
    BlockGraph,
    GuestMachine,
    Job,
    Migration,
    Node,
    VmState,
)
from planner.semantics.versions import Profile, profile_of

__all__ = ["state_from_queries"]

Reply = Mapping[str, Any]
_ROLES = {"file": "file", "backing": "backing", "data-file": "data_file", "image": "file"}


def state_from_queries(
    replies: Mapping[str, object], *, version: str | None = None, host_ns: int = EPOCH_NS
) -> VmState:
    """The VM whose queries were answered so.

    Args:
        replies: What each query returned, by its command's name.  Needed are `query-version`,
            `query-status`, `query-block` and `query-named-block-nodes`; used if there:
            `x-debug-query-block-graph`, `query-jobs`, `query-name`, `query-uuid`, `query-target`,
            `query-migrate`, `qom-get` (the machine type), `qom-list` (replies by path).
        version: Another QEMU than the one that answered.
        host_ns: The host's clock, nanoseconds since the epoch.

    Raises:
        BadInput: A needed reply is missing, or the version is not modelled.
    """
    needed = ("query-version", "query-status", "query-block", "query-named-block-nodes")
    missing = [name for name in needed if name not in replies]
    if missing:
        raise BadInput(f"recorded replies lack {', '.join(missing)}")
    profile = _profile(cast("Reply", replies["query-version"]), version)
    infos = list(reversed(cast("list[Reply]", replies["query-named-block-nodes"])))
    clocks = sorted({_clock_ns(s) for info in infos for s in info["image"].get("snapshots", ())})
    versions = {clock: number for number, clock in enumerate(clocks, start=1)}
    now = len(versions) + 1
    nodes = [_node(info, versions, now) for info in infos]
    names = {node.name for node in nodes}
    for info in cast("list[Reply]", replies["query-block"]):
        inserted = info.get("inserted")
        if inserted and inserted["node-name"] not in names:
            raise BadInput(
                f"query-block shows the node {inserted['node-name']}, which is not listed"
            )
    return VmState(
        profile=profile,
        machine=_machine(replies, profile),
        run_state=cast("Reply", replies["query-status"])["status"],
        machine_version=now,
        versions_used=now,
        clock_ns=(clocks[-1] if clocks else 0) + 10**9,
        host_ns=host_ns,
        graph=BlockGraph(tuple(_linked(nodes, infos, replies))),
        devices=tuple(_devices(cast("list[Reply]", replies["query-block"]))),
        jobs=tuple(_jobs(cast("list[Reply]", replies.get("query-jobs", [])))),
        migration=Migration(status=_optional(replies, "query-migrate", "status")),
        automatic_nodes=1000,  # beyond any number that a recorded automatic name has used
    )


def _optional(replies: Mapping[str, object], query: str, member: str) -> str:
    return str(cast("Reply", replies.get(query, {})).get(member, ""))


def _profile(reply: Reply, version: str | None) -> Profile:
    found = reply["qemu"]
    return profile_of(version or f"{found['major']}.{found['minor']}")


def _machine(replies: Mapping[str, object], profile: Profile) -> GuestMachine:
    migrate = cast("Reply", replies.get("query-migrate", {}))
    listed = cast("Reply", replies.get("qom-list", {}))
    return GuestMachine(
        type=str(replies.get("qom-get", profile.machine)),
        target=_optional(replies, "query-target", "arch") or "x86_64",
        name=_optional(replies, "query-name", "name"),
        uuid=_optional(replies, "query-uuid", "UUID") or GuestMachine("").uuid,
        blocked_reasons=tuple(migrate.get("blocked-reasons", ())),
        added=devices_of(listed.get(NAMED), listed.get(ANONYMOUS)),
    )


def _clock_ns(snapshot: Reply) -> int:
    return int(snapshot["vm-clock-sec"]) * 10**9 + int(snapshot["vm-clock-nsec"])


def _node(info: Reply, versions: Mapping[int, int], now: int) -> Node:
    image = info["image"]
    data = image.get("format-specific", {}).get("data", {})
    shows = info["drv"] not in FILTER_DRIVERS  # a filter shows its child's snapshots as its own
    snapshots = image.get("snapshots", ()) if shows else ()
    return Node(
        name=info["node-name"],
        driver=info["drv"],
        filename=info.get("file", image["filename"]),
        size_bytes=image["virtual-size"],
        read_only=info["ro"],
        encrypted=info.get("encrypted", False),
        active=info.get("active", True),
        owned=not info["node-name"].startswith("#"),
        bitmaps=tuple(
            Bitmap(bitmap["name"], bitmap.get("persistent", False))
            for bitmap in info.get("dirty-bitmaps", ())
        ),
        data_file=data.get("data-file", ""),  # a file's name for now; `_linked` makes it a node's
        layer=Qcow2Image(content=now, snapshots=tuple(_snapshot(s, versions) for s in snapshots)),
    )


def _snapshot(reply: Reply, versions: Mapping[int, int]) -> LayerSnapshot:
    clock_ns = _clock_ns(reply)
    size = reply["vm-state-size"]
    kept = SnapshotInfo(reply["id"], reply["name"], clock_ns, size)
    return LayerSnapshot(
        id=kept.id,
        name=kept.name,
        vm_clock_ns=clock_ns,
        vm_state_size_bytes=size,
        content=versions[clock_ns],
        instant=versions[clock_ns],
        vmstate=Vmstate(versions[clock_ns], clock_ns) if size else None,
        date_ns=int(reply["date-sec"]) * 10**9 + int(reply["date-nsec"]),
    )


def _linked(nodes: list[Node], infos: list[Reply], replies: Mapping[str, object]) -> list[Node]:
    graph = cast("Reply | None", replies.get("x-debug-query-block-graph"))
    children = _recorded_children(graph) if graph else _guessed_children(nodes, infos)
    return [
        evolve(node, **{"data_file": "", **children.get(node.name, {})})  # type: ignore[arg-type]
        for node in nodes
    ]


def _recorded_children(graph: Reply) -> dict[str, dict[str, str]]:
    names = {n["id"]: n["name"] for n in graph["nodes"] if n["type"] == "block-driver"}
    found: dict[str, dict[str, str]] = {}
    for edge in graph["edges"]:
        role = _ROLES.get(edge["name"])
        if role and edge["parent"] in names and edge["child"] in names:
            found.setdefault(names[edge["parent"]], {})[role] = names[edge["child"]]
    return found


def _guessed_children(nodes: list[Node], infos: list[Reply]) -> dict[str, dict[str, str]]:
    protocol = {n.filename: n.name for n in nodes if n.driver in PROTOCOL_DRIVERS}
    images = {n.filename: n.name for n in nodes if n.driver in {"qcow2", "raw"}}
    found: dict[str, dict[str, str]] = {}
    for node, info in zip(nodes, infos, strict=True):
        below = images if node.driver in FILTER_DRIVERS else protocol
        links = {"file": below.get(node.filename, "")} if node.driver != "file" else {}
        if "backing_file" in info:
            links["backing"] = images.get(info["backing_file"], "")
        if node.data_file:
            links["data_file"] = protocol.get(node.data_file, "")
        found[node.name] = links
    return found


def _devices(blocks: list[Reply]) -> list[BlockBackend]:
    return [
        BlockBackend(block["device"], block.get("qdev", ""), block["inserted"]["node-name"])
        for block in blocks
        if "inserted" in block
    ]


def _jobs(replies: list[Reply]) -> list[Job]:
    return [
        Job(job["id"], job["type"], "", (), status=job["status"], error=job.get("error", ""))
        for job in replies
    ]
