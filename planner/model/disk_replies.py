"""The disks of a VM from what QEMU shows of devices, nodes and what lies below them."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, field, frozen

from planner.model.answer import AnswerObject, answer_objects, malformed
from planner.model.facts import (
    DEFAULT_REFCOUNT_BITS,
    REFCOUNT_BITS_LIMIT,
    Bitmap,
    ChainNode,
    Disk,
    node_reference,
)
from planner.model.image_file import FILTERS, file_of_image, with_below
from planner.model.image_key import key_secret_of
from planner.model.node_names import (
    AUTOMATIC_NODE_PREFIX,
    LOST_KEY,
    OVERLAY_NODE_PREFIX,
    TARGET_KEY,
    chain_of,
    is_made_up,
)
from planner.model.replies import snapshots_in

__all__ = ["DiskReplies", "disks_of"]


@frozen(kw_only=True)
class DiskReplies:
    """What QEMU answered that tells of disks.

    Attributes:
        block: To `query-block`.
        named_block_nodes: To `query-named-block-nodes`.
        blockstats: To `query-blockstats`.
        block_jobs: To `query-block-jobs`.
        block_graph: To `x-debug-query-block-graph`; None: it was not asked.
    """

    block: object
    named_block_nodes: object
    blockstats: object
    block_jobs: object = field(factory=list)
    block_graph: object | None = None


_NO_ERROR = "ok"


def disks_of(replies: DiskReplies) -> tuple[tuple[Disk, ...], dict[str, str]]:
    """The disks of a VM in canonical order, and the live names of automatically named nodes."""
    return _Disks(replies).all()


def _refcount_bits(specific: AnswerObject) -> int:
    bits = specific.number("refcount-bits", DEFAULT_REFCOUNT_BITS)
    if not 1 <= bits <= REFCOUNT_BITS_LIMIT:
        raise malformed(specific.what, f"refcount-bits is {bits}")
    return bits


class _Disks:
    """Finds the disks of a VM: devices, what they are attached to, and what lies below."""

    def __init__(self, replies: DiskReplies) -> None:
        what = "query-named-block-nodes"
        nodes = answer_objects(replies.named_block_nodes, what)
        self._nodes = {node.text("node-name"): node for node in nodes}
        self._devices = answer_objects(replies.block, "query-block")
        stats = answer_objects(replies.blockstats, "query-blockstats")
        self._stats = {stat.text("node-name", ""): stat for stat in stats}
        self._users = _block_job_users(replies)
        self._live: dict[str, str] = {}
        self._below_some_disk: set[str] = set()
        self._roots: dict[tuple[str, str, str], str] = {}
        self._under: dict[tuple[str, str, str], set[str]] = {}

    def all(self) -> tuple[tuple[Disk, ...], dict[str, str]]:
        attached = list(self._whole(filter(None, map(self._attached, self._devices))))
        unattached = list(self._unattached({disk.name for disk in attached}))
        # An image that several devices share is one disk, known by the first of them.
        disks = {disk.name: disk for disk in reversed([*attached, *unattached])}
        # What stands under another disk is gone from the list, and from the names of its node.
        kept = {name for disk in disks.values() for name in (disk.node, disk.root)}
        live = {name: node for name, node in self._live.items() if name in kept}
        return tuple(disks[name] for name in sorted(disks)), live

    def _whole(self, found: Iterable[Disk]) -> Iterable[Disk]:
        """Disks, without each ``-drive`` that only stands under another one: that is its child."""
        disks = list(found)
        tops = [disk for disk in disks if disk.qdev or not self._is_child(disk, disks)]
        for disk in tops:
            under = [other for other in disks if other not in tops and self._holds(disk, other)]
            drives = tuple(sorted(other.drive_id for other in under if other.drive_id))
            yield evolve(disk, drives_below=drives)

    def _is_child(self, disk: Disk, others: Iterable[Disk]) -> bool:
        return any(other is not disk and self._holds(other, disk) for other in others)

    def _holds(self, disk: Disk, other: Disk) -> bool:
        """Whether the root of another disk is a node between this one's root and its last child."""
        return self._roots[_key(other)] in self._under[_key(disk)]

    def _attached(self, entry: AnswerObject) -> Disk | None:
        if "inserted" not in entry.value:
            return None  # a drive without a medium
        root, drive_id = entry.member("inserted").text("node-name"), entry.text("device", "")
        if drive_id.startswith(AUTOMATIC_NODE_PREFIX):
            raise malformed("query-block", f"{drive_id[:40]!r} is no id of a drive")
        disk = self._disk(root, drive_id, entry.text("qdev", ""))
        disk = evolve(disk, target=entry.text(TARGET_KEY, ""))
        status = entry.text("io-status", _NO_ERROR)
        return disk if status == _NO_ERROR else evolve(disk, io_error=status)

    def _unattached(self, taken: set[str]) -> Iterable[Disk]:
        # A node that no device uses may still hold the machine state, if the user gave it a name.
        for name, node in self._nodes.items():
            has_format = node.text("drv") == "qcow2"
            known = name in taken or name in self._below_some_disk
            if has_format and not known and not is_made_up(name):
                yield self._disk(name, "", "")

    def _disk(self, root: str, drive_id: str, qdev: str) -> Disk:
        filters, image, stat = self._walk(root)
        # What lies below; a filter's child stands there twice.
        below = (
            [] if stat is None else [each.text("node-name", "") for each in with_below(stat)][1:]
        )
        backing = tuple(self._backing(stat))
        # An overlay of snapplan's gives no name: a disk whose image has none keeps its -drive id.
        named = [name for name in (image, *reversed(filters)) if _names_a_disk(name)]
        named = [*_name_under_overlays(image, backing), *named]
        qdev_id = Disk("", "", "", "", qdev=qdev).qdev_id
        name = next(iter([*named, *filter(None, (drive_id, qdev_id, qdev))]), image)
        node = self._nodes[image]
        info = node.member("image")
        specific = info.member("format-specific").member("data")
        users = {user for part in (*filters, image, *below) for user in self._users.get(part, ())}
        self._below_some_disk.update(filters, [image], below)
        key = (name, drive_id, qdev)
        self._roots[key], self._under[key] = root, {*filters, image, *below} - {root}
        return Disk(
            name=name,
            node=self._lasting(image, name),
            root=self._lasting_root(root, drive_id, name, image),
            driver=node.text("drv"),
            read_only=node.flag("ro"),
            drive_id=drive_id,
            qdev=qdev,
            active=node.flag("active", default=True),
            filters=tuple(self._layer(part) for part in filters),
            backing=backing,
            below=tuple(sorted(part for part in below if not is_made_up(part))),
            filename=self._file(info.text("filename", ""), stat),
            lost_name=node.text(LOST_KEY, ""),
            key_secret=key_secret_of(info.text("filename", "")),
            virtual_size_bytes=info.number("virtual-size", 0),
            data_file="data-file" in specific.value,
            encrypted=node.flag("encrypted", default=False),
            corrupt=specific.flag("corrupt", default=False),
            refcount_bits=_refcount_bits(specific),
            snapshots=snapshots_in(info),
            bitmaps=tuple(sorted(_bitmap(entry) for entry in node.members("dirty-bitmaps"))),
            users=tuple(sorted(users)),
            chain=chain_of((image, *below)),
        )

    def _lasting(self, node: str, disk: str) -> str:
        """A node's name for files that are kept; automatic names last only as long as this QEMU."""
        if not is_made_up(node):
            return node
        reference = node_reference(disk)
        self._live[reference] = node
        return reference

    def _lasting_root(self, root: str, drive_id: str, disk: str, image: str) -> str:
        """What a disk's root is called in files that are kept."""
        if not is_made_up(root) or drive_id:
            return drive_id if is_made_up(root) else root
        if root == image:
            return node_reference(disk)
        reference = node_reference(f"{disk}/root")
        self._live[reference] = root
        return reference

    def _layer(self, node: str, stat: AnswerObject | None = None) -> ChainNode:
        entry = self._nodes[node]
        lasting = "" if is_made_up(node) else node
        shown = entry.member("image").text("filename", "")
        file = self._file(shown, stat)
        return ChainNode(lasting, entry.text("drv"), file, key_secret_of(shown))

    def _file(self, shown: str, stat: AnswerObject | None) -> str:
        """An image's file: what QEMU shows, or where that is options, what lies under its format."""
        return shown if stat is None else file_of_image(shown, stat, self._nodes)

    def _walk(self, root: str) -> tuple[list[str], str, AnswerObject | None]:
        """From a root node down: the filters, the image node, and what is known of its children."""
        filters: list[str] = []
        node = self._known(root)
        stat = self._stats.get(root)
        while self._nodes[node].text("drv") in FILTERS and stat is not None:
            child = stat.member("parent")
            if not child.value:
                break
            filters.append(node)
            stat = child
            node = self._known(child.text("node-name"))
        return filters, node, stat

    def _backing(self, stat: AnswerObject | None) -> Iterable[ChainNode]:
        while stat is not None and "backing" in stat.value:
            stat = stat.member("backing")
            name = self._known(stat.text("node-name"))
            yield self._layer(name, stat)

    def _known(self, node: str) -> str:
        if node not in self._nodes:
            raise malformed("query-named-block-nodes", f"node {node!r} is missing")
        return node


def _name_under_overlays(image: str, backing: tuple[ChainNode, ...]) -> list[str]:
    """The name that a disk had before overlays of snapplan came on it, where it had one."""
    above = image
    for layer in backing:
        if not above.startswith(OVERLAY_NODE_PREFIX):
            break
        above = layer.node
    under = above != image and above and _names_a_disk(above)
    return [above] if under else []


def _names_a_disk(node: str) -> bool:
    return not is_made_up(node) and not node.startswith(OVERLAY_NODE_PREFIX)


def _key(disk: Disk) -> tuple[str, str, str]:
    return disk.name, disk.drive_id, disk.qdev


def _bitmap(entry: AnswerObject) -> Bitmap:
    return Bitmap(entry.text("name", ""), entry.flag("persistent", default=False))


def _block_job_users(replies: DiskReplies) -> dict[str, set[str]]:
    """Which block jobs use which nodes; a job that cannot be placed is taken to use every node."""
    jobs = answer_objects(replies.block_jobs, "query-block-jobs")
    names = {job.text("device") for job in jobs}
    if not names:
        return {}
    users: dict[str, set[str]] = {}
    placed: set[str] = set()
    for job, node in _job_edges(replies.block_graph):
        users.setdefault(node, set()).add(job)
        placed.add(job)
    lost = names - placed
    for entry in answer_objects(replies.named_block_nodes, "query-named-block-nodes"):
        users.setdefault(entry.text("node-name"), set()).update(lost)
    return users


def _job_edges(reply: object) -> Iterable[tuple[str, str]]:
    if reply is None:
        return
    graph = AnswerObject.of(reply, "x-debug-query-block-graph")
    nodes = {node.number("id"): node for node in graph.members("nodes")}
    for edge in graph.members("edges"):
        parent, child = nodes.get(edge.number("parent")), nodes.get(edge.number("child"))
        if parent is not None and child is not None and parent.text("type") == "block-job":
            yield parent.text("name"), child.text("name")
