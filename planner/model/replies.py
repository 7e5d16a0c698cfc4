"""QMP replies into facts, believing nothing that was not checked.

Every value is looked at before it is used: a peer that answers in another shape gets one clear error,
never a traceback and never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import evolve, frozen

from planner.model.answer import AnswerObject, answer_objects, malformed
from planner.model.facts import (
    AUTOMATIC_NODE_PREFIX,
    DEFAULT_REFCOUNT_BITS,
    OVERLAY_NODE_PREFIX,
    REFCOUNT_BITS_LIMIT,
    Bitmap,
    ChainNode,
    Disk,
    Drive,
    Facts,
    JobInfo,
    QemuVersion,
    SnapshotInfo,
    node_reference,
)
from planner.model.hardware import Hardware
from planner.model.image_file import FILTERS, file_of_image
from planner.model.migration import LIMITS, ORDINARY, Setting
from planner.model.peripherals import Device, HostObject, tpms_of

__all__ = [
    "MigrationInfo",
    "Replies",
    "disks_of",
    "facts_from_replies",
    "jobs_of",
    "migration_of",
    "run_state_of",
    "snapshots_of",
    "snapshots_of_image",
]

_NS_PER_S = 1_000_000_000


@frozen
class Replies:
    """What a VM answered to the questions of a survey, each as it came.

    Attributes are named after the QMP commands; ``block_graph`` is None where no block job ran.
    ``devices``, ``objects`` and ``hardware`` took several questions, and are put together already.
    """

    version: object
    status: object
    block: object
    named_block_nodes: object
    blockstats: object
    jobs: object
    block_jobs: object
    migrate: object
    schema: tuple[Mapping[str, object], ...]
    machine: object = ""
    target: object = None
    name: object = None
    uuid: object = None
    block_graph: object = None
    capabilities: object = None
    parameters: object = None
    memory: object = None
    devices: tuple[Device, ...] = ()
    tpms: object = None
    objects: tuple[HostObject, ...] = ()
    hardware: Hardware | None = None


def run_state_of(reply: object) -> str:
    """The run state in an answer to `query-status`."""
    return AnswerObject.of(reply, "query-status").text("status")


def descriptor_sets_of(reply: object) -> tuple[int, ...]:
    """For each descriptor in an answer to `query-fdsets`, the number of its set."""
    return tuple(
        entry.number("fdset-id")
        for entry in answer_objects(reply, "query-fdsets")
        for _ in entry.members("fds")
    )


def jobs_of(reply: object) -> tuple[tuple[JobInfo, str], ...]:
    """The jobs in an answer to `query-jobs`, each with its error (empty: none)."""
    found = []
    for entry in answer_objects(reply, "query-jobs"):
        job = JobInfo(entry.text("id"), entry.text("type"), entry.text("status"))
        found.append((job, entry.text("error", "")))
    return tuple(found)


@frozen
class MigrationInfo:
    """What `query-migrate` says of a migration.

    Attributes:
        status: QEMU's word; empty: there was none.
        pages: Pages in the stream: more than 0 only once memory is being written (fact 39).
        remaining_bytes: What is still to be written.
        transferred_bytes: What was written.
        error: QEMU's words on a failure; empty: none.
    """

    status: str
    pages: int = 0
    remaining_bytes: int = 0
    error: str = ""
    transferred_bytes: int = 0


def migration_of(reply: object) -> MigrationInfo:
    """The migration in an answer to `query-migrate`."""
    top = AnswerObject.of(reply, "query-migrate")
    ram = top.member("ram")
    return MigrationInfo(
        status=top.text("status", ""),
        pages=ram.number("normal", 0) + ram.number("duplicate", 0),
        remaining_bytes=ram.number("remaining", 0),
        error=top.text("error-desc", ""),
        transferred_bytes=ram.number("transferred", 0),
    )


def snapshots_of(reply: object) -> dict[str, tuple[SnapshotInfo, ...]]:
    """The snapshots of each node in an answer to `query-named-block-nodes`."""
    what = "query-named-block-nodes"
    nodes = answer_objects(reply, what)
    return {node.text("node-name"): _snapshots(node.member("image")) for node in nodes}


def snapshots_of_image(info: object) -> tuple[SnapshotInfo, ...]:
    """The snapshots in an image's information, as QMP and ``qemu-img info`` give it."""
    return _snapshots(AnswerObject.of(info, "the image's information"))


def _snapshots(image: AnswerObject) -> tuple[SnapshotInfo, ...]:
    return tuple(
        SnapshotInfo(
            id=entry.text("id"),
            name=entry.text("name"),
            vm_clock_ns=entry.number("vm-clock-sec") * _NS_PER_S + entry.number("vm-clock-nsec"),
            vm_state_size_bytes=entry.number("vm-state-size"),
            date_ns=entry.number("date-sec") * _NS_PER_S + entry.number("date-nsec"),
        )
        for entry in image.members("snapshots")
    )


def facts_from_replies(replies: Replies) -> Facts:
    """Put the answers together.

    Raises:
        CannotConnect: An answer has another shape than QMP says (code ``reply-malformed``).
    """
    disks, live_nodes = disks_of(replies)
    migrate = AnswerObject.of(replies.migrate, "query-migrate")
    return Facts(
        qemu=_version(replies.version),
        machine=_machine(replies.machine),
        run_state=run_state_of(replies.status),
        disks=disks,
        target=_optional_text(replies.target, "query-target", "arch"),
        jobs=tuple(sorted(job for job, _ in jobs_of(replies.jobs))),
        migration=migrate.text("status", ""),
        migration_error=migrate.text("error-desc", ""),
        blocked_reasons=migrate.texts("blocked-reasons"),
        capabilities=_capabilities(replies.capabilities),
        parameters=_parameters(replies.parameters),
        schema=replies.schema,
        vm_name=vm_name_of(replies.name),
        vm_uuid=vm_uuid_of(replies.uuid),
        memory_bytes=_memory_bytes(replies.memory),
        devices=replies.devices,
        tpms=tpms_of(replies.tpms),
        objects=replies.objects,
        hardware=replies.hardware,
        drives=tuple(sorted(_drives(replies.block))),
        live_nodes=live_nodes,
    )


def disks_of(replies: Replies) -> tuple[tuple[Disk, ...], dict[str, str]]:
    """The disks of a VM in canonical order, and the live names of automatically named nodes."""
    return _Disks(replies).all()


def _drives(reply: object) -> Iterable[Drive]:
    for entry in answer_objects(reply, "query-block"):
        if entry.flag("removable", default=False):
            image = entry.member("inserted").member("image")
            yield Drive(
                entry.text("device", ""), entry.text("qdev", ""), image.text("filename", "")
            )


def _memory_bytes(reply: object) -> int:
    if reply is None:
        return 0
    top = AnswerObject.of(reply, "query-memory-size-summary")
    return top.number("base-memory") + top.number("plugged-memory", 0)


def _capabilities(reply: object) -> dict[str, bool]:
    entries = [] if reply is None else answer_objects(reply, "query-migrate-capabilities")
    found = {entry.text("capability"): entry.flag("state") for entry in entries}
    return dict(sorted(found.items()))


def _parameters(reply: object) -> dict[str, Setting]:
    if reply is None:
        return {}
    top = AnswerObject.of(reply, "query-migrate-parameters")
    found: dict[str, Setting] = {name: top.number(name) for name in LIMITS if name in top.value}
    for name, ordinary in ORDINARY.items():
        value = top.value.get(name)
        if isinstance(value, type(ordinary)) and value != ordinary:
            found[name] = value
    return found


def _version(reply: object) -> QemuVersion:
    top = AnswerObject.of(reply, "query-version")
    qemu = top.member("qemu")
    return QemuVersion(
        qemu.number("major"), qemu.number("minor"), qemu.number("micro"), top.text("package", "")
    )


def _machine(reply: object) -> str:
    if not isinstance(reply, str):
        raise malformed("qom-get", f"the machine type is {str(reply)[:40]!r}")
    return reply.removesuffix("-machine")


def _optional_text(reply: object, what: str, key: str) -> str:
    return "" if reply is None else AnswerObject.of(reply, what).text(key, "")


def _refcount_bits(specific: AnswerObject) -> int:
    bits = specific.number("refcount-bits", DEFAULT_REFCOUNT_BITS)
    if not 1 <= bits <= REFCOUNT_BITS_LIMIT:
        raise malformed(specific.what, f"refcount-bits is {bits}")
    return bits


def vm_name_of(reply: object) -> str:
    """The VM's name in a reply to `query-name`; empty: it has none."""
    return _optional_text(reply, "query-name", "name")


def vm_uuid_of(reply: object) -> str:
    """The VM's UUID in a reply to `query-uuid`; empty: none was set."""
    text = _optional_text(reply, "query-uuid", "UUID")
    return "" if not text.strip("0-") else text


class _Disks:
    """Finds the disks of a VM: devices, what they are attached to, and what lies below."""

    def __init__(self, replies: Replies) -> None:
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
        live = {
            disk.node: self._live[disk.node] for disk in disks.values() if disk.node in self._live
        }
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
        if _is_automatic(drive_id):
            raise malformed("query-block", f"{drive_id[:40]!r} is no id of a drive")
        return self._disk(root, drive_id, entry.text("qdev", ""))

    def _unattached(self, taken: set[str]) -> Iterable[Disk]:
        # A node that no device uses may still hold the machine state, if the user gave it a name.
        for name, node in self._nodes.items():
            has_format = node.text("drv") == "qcow2"
            known = name in taken or name in self._below_some_disk
            if has_format and not known and not _is_automatic(name):
                yield self._disk(name, "", "")

    def _disk(self, root: str, drive_id: str, qdev: str) -> Disk:
        filters, image, stat = self._walk(root)
        below = [] if stat is None else _nodes_under(stat)
        backing = tuple(self._backing(stat))
        # An overlay of snapplan's gives no name: a disk whose image has none keeps its -drive id.
        passing = (AUTOMATIC_NODE_PREFIX, OVERLAY_NODE_PREFIX)
        named = [name for name in (image, *reversed(filters)) if not name.startswith(passing)]
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
            root=root if not _is_automatic(root) else drive_id or node_reference(name),
            driver=node.text("drv"),
            read_only=node.flag("ro"),
            drive_id=drive_id,
            qdev=qdev,
            active=node.flag("active", default=True),
            filters=tuple(self._layer(part) for part in filters),
            backing=backing,
            below=tuple(sorted(part for part in below if not _is_automatic(part))),
            filename=self._file(info.text("filename", ""), stat),
            virtual_size_bytes=info.number("virtual-size", 0),
            data_file="data-file" in specific.value,
            encrypted=node.flag("encrypted", default=False),
            corrupt=specific.flag("corrupt", default=False),
            refcount_bits=_refcount_bits(specific),
            snapshots=_snapshots(info),
            bitmaps=tuple(sorted(_bitmap(entry) for entry in node.members("dirty-bitmaps"))),
            users=tuple(sorted(users)),
        )

    def _lasting(self, node: str, disk: str) -> str:
        """A node's name for files that are kept; automatic names last only as long as this QEMU."""
        if not _is_automatic(node):
            return node
        reference = node_reference(disk)
        self._live[reference] = node
        return reference

    def _layer(self, node: str, stat: AnswerObject | None = None) -> ChainNode:
        entry = self._nodes[node]
        lasting = "" if _is_automatic(node) else node
        shown = entry.member("image").text("filename", "")
        return ChainNode(lasting, entry.text("drv"), self._file(shown, stat))

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


def _nodes_under(stat: AnswerObject) -> list[str]:
    """Every node under one of `query-blockstats`' entries (a filter's child stands there twice)."""
    below: list[str] = []
    todo = [stat.member(key) for key in ("parent", "backing") if key in stat.value]
    while todo:
        entry = todo.pop()
        below.append(entry.text("node-name", ""))
        todo.extend(entry.member(key) for key in ("parent", "backing") if key in entry.value)
    return below


def _name_under_overlays(image: str, backing: tuple[ChainNode, ...]) -> list[str]:
    """The name that a disk had before overlays of snapplan came on it, where it had one."""
    above = image
    for layer in backing:
        if not above.startswith(OVERLAY_NODE_PREFIX):
            break
        above = layer.node
    under = above != image and above and not above.startswith(OVERLAY_NODE_PREFIX)
    return [above] if under else []


def _key(disk: Disk) -> tuple[str, str, str]:
    return disk.name, disk.drive_id, disk.qdev


def _bitmap(entry: AnswerObject) -> Bitmap:
    return Bitmap(entry.text("name", ""), entry.flag("persistent", default=False))


def _is_automatic(node: str) -> bool:
    return node.startswith(AUTOMATIC_NODE_PREFIX)


def _block_job_users(replies: Replies) -> dict[str, set[str]]:
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
