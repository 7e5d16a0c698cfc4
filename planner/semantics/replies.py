"""Query replies about the block layer, shaped as QEMU shapes them.

Rules: a reply is built from a state alone; what is costly is kept per block graph (a graph is
immutable, so a reply about it is good for ever).  Replies are shared: read them, do not change them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from planner.model.facts import Bitmap
from planner.semantics.block import FILTER_DRIVERS
from planner.semantics.node_bitmap import granularity_of, records
from planner.semantics.state import BlockBackend, BlockGraph, Job, Node, VmState
from planner.semantics.transaction import snapshot_info
from planner.semantics.versions import Profile

__all__ = ["query_block", "query_block_graph", "query_blockstats", "query_named_block_nodes"]

Reply = dict[str, object]

_LIMITS = {
    "request-alignment": 1,
    "min-mem-alignment": 1,
    "opt-mem-alignment": 4096,
    "max-iov": 1024,
}
_PERMISSIONS: Reply = {
    "perm": ["consistent-read", "write"],
    "shared-perm": ["consistent-read", "write-unchanged", "resize"],
}
_ZEROES = ("iops_rd", "iops_wr", "iops", "bps_wr", "bps_rd", "bps", "write_threshold")


def query_named_block_nodes(state: VmState, *, flat: bool) -> list[Reply]:
    """The command `query-named-block-nodes`: every node, newest first (fact 16 on ``flat``)."""
    return _named_nodes(state.graph, state.profile, flat)


@functools.lru_cache(maxsize=64)
def _named_nodes(graph: BlockGraph, profile: Profile, flat: bool) -> list[Reply]:  # noqa: FBT001
    return [_node_info(graph, profile, node, flat=flat) for node in reversed(graph.nodes)]


def query_block(state: VmState) -> list[Reply]:
    """The command `query-block`: every block backend and what is inserted in it."""
    return _blocks(state.graph, state.profile, state.devices)


@functools.lru_cache(maxsize=64)
def _blocks(graph: BlockGraph, profile: Profile, devices: tuple[BlockBackend, ...]) -> list[Reply]:
    return [_block(graph, profile, device) for device in devices]


def _block(graph: BlockGraph, profile: Profile, device: BlockBackend) -> Reply:
    reply: Reply = {
        "device": device.name,
        "locked": False,
        "removable": False,
        "type": "unknown",
        "inserted": _node_info(graph, profile, _shown(graph, device), flat=False),
    }
    if device.qdev:
        reply |= {"io-status": "ok", "qdev": device.qdev}
    return reply


def _shown(graph: BlockGraph, device: BlockBackend) -> Node:
    """A device's root node; the filter of a block job is left out unless somebody named it."""
    node = graph.node(device.node)
    implicit = node.driver == "mirror_top" and node.name.startswith("#")
    return graph.node(node.file) if implicit else node


def _node_info(graph: BlockGraph, profile: Profile, node: Node, *, flat: bool) -> Reply:
    backing = graph.get(node.backing) if node.backing else None
    info: Reply = {
        **dict.fromkeys(_ZEROES, 0),
        "detect_zeroes": "off",
        "image": _image_info(graph, profile, node, flat=flat),
        "ro": node.read_only,
        "node-name": node.name,
        "backing_file_depth": 0 if flat else _depth(graph, node),
        "drv": node.driver,
        "encrypted": node.encrypted,
        "cache": {"no-flush": False, "direct": False, "writeback": True},
        "file": node.filename,
    }
    if backing is not None:
        info["backing_file"] = backing.filename
    if node.bitmaps:
        info["dirty-bitmaps"] = [_bitmap_info(bitmap) for bitmap in node.bitmaps]
    if profile.has_active:
        info["active"] = node.active
    if profile.has_children:
        info["children"] = [{"node-name": name, "child": role} for role, name in node.children]
    return info


def _image_info(graph: BlockGraph, profile: Profile, node: Node, *, flat: bool) -> Reply:
    info: Reply = {
        "filename": node.filename,
        "format": node.driver,
        "virtual-size": node.size_bytes,
        "actual-size": 200704,
        "dirty-flag": False,
    }
    if profile.has_children:
        info["limits"] = _LIMITS
    image = node
    while image.driver in FILTER_DRIVERS and image.file:
        image = graph.node(image.file)
    if image.driver == "qcow2":
        info |= _qcow2_info(image, is_filter=image is not node)
    backing = graph.get(node.backing) if node.backing else None
    if backing is not None:
        info["backing-filename"] = backing.filename
        info["full-backing-filename"] = backing.filename
        info["backing-filename-format"] = backing.driver
        if not flat:
            info["backing-image"] = _image_info(graph, profile, backing, flat=False)
    return info


def _qcow2_info(image: Node, *, is_filter: bool) -> Reply:
    info: Reply = {"cluster-size": 65536}
    if image.layer.snapshots and not image.data_file:
        info["snapshots"] = [snapshot_info(snapshot) for snapshot in image.layer.snapshots]
    if not is_filter:
        data: Reply = {
            "compat": "1.1",
            "compression-type": "zlib",
            "lazy-refcounts": False,
            "refcount-bits": 16,
            "corrupt": False,
            "extended-l2": False,
        }
        if image.data_file:
            data |= {"data-file": image.filename + ".data", "data-file-raw": False}
        info["format-specific"] = {"type": "qcow2", "data": data}
    return info


def _bitmap_info(bitmap: Bitmap) -> Reply:
    return {
        "name": bitmap.name,
        "recording": records(bitmap),
        "persistent": bitmap.persistent,
        "busy": False,
        "granularity": granularity_of(bitmap),
        "count": 0,
    }


def _depth(graph: BlockGraph, node: Node) -> int:
    depth = 0
    while True:
        while node.driver in FILTER_DRIVERS and node.file:
            node = graph.node(node.file)
        if not node.backing:
            return depth
        node = graph.node(node.backing)
        depth += 1


def query_blockstats(state: VmState, *, query_nodes: bool) -> list[Reply]:
    """The command `query-blockstats`, with counters that never move."""
    if query_nodes:
        return [{**_stats(), "node-name": node.name} for node in reversed(state.graph.nodes)]
    return [
        {
            **_node_stats(state, state.graph.node(device.node)),
            "device": device.name,
            "qdev": device.qdev,
        }
        for device in state.devices
    ]


def _node_stats(state: VmState, node: Node) -> Reply:
    """A node and what is below it: its child is `parent`, its backing or filtered node `backing`."""
    stats: Reply = {**_stats(), "node-name": node.name}
    if node.file:
        stats["parent"] = _node_stats(state, state.graph.node(node.file))
    below = node.backing or (node.file if node.driver in FILTER_DRIVERS else "")
    if below:
        stats["backing"] = _node_stats(state, state.graph.node(below))
    return stats


def _stats() -> Reply:
    kinds = ("rd", "wr", "flush", "unmap")
    stats: Reply = {f"{kind}_operations": 0 for kind in kinds}
    stats |= {f"{kind}_total_time_ns": 0 for kind in kinds}
    stats |= {f"failed_{kind}_operations": 0 for kind in kinds}
    stats |= {f"invalid_{kind}_operations": 0 for kind in kinds}
    stats |= {f"{kind}_bytes": 0 for kind in ("rd", "wr", "unmap")}
    stats |= {f"{kind}_merged": 0 for kind in ("rd", "wr", "unmap")}
    stats |= {"wr_highest_offset": 0, "timed_stats": []}
    stats |= {"account_invalid": False, "account_failed": False}
    return {"stats": stats}


def query_block_graph(state: VmState) -> Reply:
    """The command `x-debug-query-block-graph`: ids are positions, backends before nodes."""
    nodes = list(state.graph.nodes)
    ids = {node.name: len(state.devices) + 1 + number for number, node in enumerate(nodes)}
    backends = [
        {"id": number + 1, "type": "block-backend", "name": device.name or device.qdev}
        for number, device in enumerate(state.devices)
    ]
    drivers = [{"id": ids[n.name], "type": "block-driver", "name": n.name} for n in nodes]
    commits = [job for job in state.jobs if job.commit and job.status != "concluded"]
    first = len(backends) + len(drivers) + 1
    jobs = [
        {"id": number, "type": "block-job", "name": job.id}
        for number, job in enumerate(commits, start=first)
    ]
    edges = [*_edges(state, ids), *_job_edges(commits, ids, first)]
    return {"nodes": [*backends, *drivers, *jobs], "edges": edges}


def _job_edges(jobs: list[Job], ids: dict[str, int], first: int) -> Iterator[Reply]:
    for number, job in enumerate(jobs, start=first):
        if job.commit is None:
            continue
        ends = (("main node", job.commit.filter), ("source", job.commit.source))
        for name, node in (*ends, ("target", job.commit.target)):
            yield {"parent": number, "child": ids[node], "name": name, **_PERMISSIONS}


def _edges(state: VmState, ids: dict[str, int]) -> Iterator[Reply]:
    for number, device in enumerate(state.devices):
        yield {"parent": number + 1, "child": ids[device.node], "name": "root", **_PERMISSIONS}
    for node in state.graph.nodes:
        for role, child in node.children:
            yield {"parent": ids[node.name], "child": ids[child], "name": role, **_PERMISSIONS}
