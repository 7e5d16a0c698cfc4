"""The state of a VM: everything that decides what QEMU answers next, and nothing else.

Rules: frozen, hashable, small.  Two states that are equal behave alike for ever.  Time is in it only
as counters that somebody advances on purpose: no function here reads a clock.  Versions (of the
machine, of a disk's content) come from one counter that never goes back, so that two histories
cannot be mistaken for each other after a load.

What the host knows besides QEMU (wall clock) is in it because replies show it; it never moves by
itself, so it does not blow up a search.
"""

from __future__ import annotations

from functools import cached_property

from attrs import evolve, field, frozen

from planner.errors import InternalError
from planner.model.facts import Bitmap
from planner.model.hardware import Hardware
from planner.model.peripherals import Device as PeripheralDevice
from planner.model.peripherals import HostObject, Tpm
from planner.semantics.qcow2 import Qcow2Image
from planner.semantics.result import MicroStep
from planner.semantics.versions import Profile

__all__ = [
    "Backup",
    "BlockGraph",
    "Commit",
    "BlockBackend",
    "Job",
    "GuestMachine",
    "MadeFile",
    "Migration",
    "Node",
    "StreamContent",
    "VmState",
]


@frozen(cache_hash=True)
class Node:
    """One block node.

    Attributes:
        name: Node name; QEMU's own start with ``#``.
        driver: QEMU's driver.
        filename: The file it stands for.
        size_bytes: Virtual size.
        read_only: Open for reading only.
        file: Name of its ``file`` child: the protocol node, or what a filter filters.
        backing: Name of its backing node, empty for none.
        data_file: Name of the node with its data, empty for none (fact 10).
        encrypted: Whether the image is encrypted (fact 66).
        active: Whether it is active (fact 29).
        owned: Whether the monitor owns it (`-blockdev`, `blockdev-add`).
        layer: What is in it.
        bitmaps: Dirty bitmaps on it; any of them makes a load fail half way (fact 20).
    """

    name: str
    driver: str
    filename: str = ""
    size_bytes: int = 0
    read_only: bool = False
    file: str = ""
    backing: str = ""
    data_file: str = ""
    encrypted: bool = False
    active: bool = True
    owned: bool = True
    layer: Qcow2Image = field(factory=Qcow2Image)
    bitmaps: tuple[Bitmap, ...] = ()

    @property
    def children(self) -> tuple[tuple[str, str], ...]:
        """(role, node name) of each child, in QEMU's order."""
        first = "backing" if self.driver == "mirror_top" else "file"  # a job's filter: QEMU's word
        roles = ((first, self.file), ("backing", self.backing), ("data-file", self.data_file))
        return tuple((role, name) for role, name in roles if name)


@frozen(cache_hash=True)
class BlockGraph:
    """All nodes, in the order in which they were made."""

    nodes: tuple[Node, ...] = ()

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each node by its name."""
        return {node.name: position for position, node in enumerate(self.nodes)}

    @cached_property
    def parents(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """(parent, role) of every node that has a parent."""
        found: dict[str, tuple[tuple[str, str], ...]] = {}
        for node in self.nodes:
            for role, child in node.children:
                found[child] = (*found.get(child, ()), (node.name, role))
        return found

    def get(self, name: str) -> Node | None:
        """The node of that name, if there is one."""
        position = self.index.get(name)
        return None if position is None else self.nodes[position]

    def node(self, name: str) -> Node:
        """The node of that name, which must exist.

        Raises:
            InternalError: It does not: a micro-step outlived its node.
        """
        found = self.get(name)
        if found is None:
            raise InternalError(f"the model lost the node {name!r}")
        return found

    def replaced(self, *nodes: Node) -> BlockGraph:
        """The graph with these nodes in the places of those of their names."""
        present = list(self.nodes)
        same_shape = True
        for node in nodes:
            position = self.index[node.name]
            same_shape = same_shape and present[position].children == node.children
            present[position] = node
        graph = BlockGraph(tuple(present))
        # names are where they were, so what was derived from them holds for the new graph too
        object.__setattr__(graph, "index", self.index)
        if same_shape:
            object.__setattr__(graph, "parents", self.parents)
        return graph


@frozen(cache_hash=True)
class BlockBackend:
    """One block backend: a guest device, a ``-drive``, or both.

    Attributes:
        name: ``-drive`` id, or empty.
        qdev: QOM path of the device, or empty when no device uses it.
        node: Name of its root node.
    """

    name: str
    qdev: str
    node: str


@frozen(cache_hash=True)
class Commit:
    """What a `block-commit` of an active layer works on (fact 55).

    Attributes:
        source: Name of the overlay.
        target: Name of the base.
        filter: Name of the filter that stands on the overlay meanwhile.
        between: Names of the nodes between overlay and base.
        auto_finalize: Whether it goes from `pending` to its end by itself.
        auto_dismiss: Whether it is gone when it is concluded.
        base_was_read_only: What the base was before.
        speed: Bytes a second, 0 for no limit.
        length_bytes: How much there was to copy.
        offset_bytes: How much is copied.
    """

    source: str
    target: str
    filter: str
    between: tuple[str, ...] = ()
    auto_finalize: bool = True
    auto_dismiss: bool = True
    base_was_read_only: bool = True
    speed: int = 0
    length_bytes: int = 0
    offset_bytes: int = 0


@frozen(cache_hash=True)
class Backup:
    """What a `blockdev-backup` of a whole disk works on (fact 111).

    Attributes:
        source: Name of the disk's root node.
        target: Name of the copy's node.
        filter: Name of the filter that stands on the disk meanwhile.
        auto_dismiss: Whether it is gone when it is concluded.
        content: What the disk held at its instant.
        length_bytes: How much there is to copy.
        offset_bytes: How much is copied.
        speed: Bytes a second, 0 for no limit; with any limit it never ends by itself here.
        made_target: Whether QEMU made and opened the target itself, and closes it at the end (fact 152).
    """

    source: str
    target: str
    filter: str
    auto_dismiss: bool = True
    content: int = 0
    length_bytes: int = 0
    offset_bytes: int = 0
    speed: int = 0
    made_target: bool = False


@frozen(cache_hash=True)
class MadeFile:
    """A file that a command made.

    Attributes:
        filename: Its path.
        format: What is in it; empty: nothing yet.
        size_bytes: Virtual size.
    """

    filename: str
    format: str
    size_bytes: int


@frozen(cache_hash=True)
class Job:
    """A job.  A snapshot job stays, concluded, until it is dismissed (fact 1).

    Attributes:
        commit: What a `commit` job works on; None for others.
        backup: What a `backup` job works on; None for others.
    """

    id: str
    type: str
    tag: str
    devices: tuple[str, ...]
    vmstate: str = ""
    status: str = "created"
    error: str = ""
    commit: Commit | None = None
    backup: Backup | None = None


@frozen(cache_hash=True)
class StreamContent:
    """Machine state saved outside of the disks.

    Attributes:
        uri: Where to.
        machine: Version of the machine in it.
    """

    uri: str
    machine: int


@frozen(cache_hash=True)
class Migration:
    """The present or last outgoing migration.

    Attributes:
        status: As `query-migrate` says; empty before the first.
        uri: Where to.
        was_running: Whether the guest ran when QEMU stopped it for the migration.
        old_run_state: Run state before that.
        background: Whether it is a background snapshot.
        tracking: Whether write tracking is on, that is, the instant is fixed (fact 39).
        machine: Version of the machine at that instant.
        error: What went wrong.
    """

    status: str = ""
    uri: str = ""
    was_running: bool = False
    old_run_state: str = ""
    background: bool = False
    tracking: bool = False
    machine: int = 0
    error: str = ""

    @property
    def under_way(self) -> bool:
        """Whether a migration is going on."""
        return self.status in _UNDER_WAY


_UNDER_WAY = frozenset(
    {"setup", "active", "pre-switchover", "device", "cancelling", "failing", "wait-unplug"}
)


_A_PC = Hardware(1, processor_type="qemu64-x86_64-cpu", accelerator="kvm", pci=())
"""A machine of which nothing else is known."""


@frozen
class GuestMachine:
    """What of the guest does not change while it runs.

    Attributes:
        type: QOM type, as `qom-get /machine type` says.
        target: Guest architecture.
        name: `query-name`'s answer, or empty.
        uuid: `query-uuid`'s answer.
        blocked_reasons: What stops migrate and snapshot-save (fact 33).
        added: Devices that the user added.
        tpms: The TPMs.
        objects: What ``-object`` made.
        hardware: The machine that its state fits.
        daemon: Whether it is none, but a storage daemon (`planner.semantics.daemon`).
    """

    type: str
    target: str = "x86_64"
    name: str = ""
    uuid: str = "00000000-0000-0000-0000-000000000000"
    blocked_reasons: tuple[str, ...] = ()
    added: tuple[PeripheralDevice, ...] = ()
    tpms: tuple[Tpm, ...] = ()
    objects: tuple[HostObject, ...] = ()
    hardware: Hardware = _A_PC
    daemon: bool = False


@frozen(cache_hash=True)
class VmState:
    """A VM at one moment.

    Attributes:
        profile: Which QEMU it is.
        machine: What does not change.
        run_state: QEMU's word for it.
        machine_version: Version of the guest's memory and devices.
        versions_used: How many versions were ever given out.
        clock_ns: The guest's virtual clock.
        host_ns: The host's clock, since the epoch; moves only when somebody says so.
        graph: The block nodes.
        devices: The block backends, in `query-block`'s order.
        jobs: Jobs that were not dismissed.
        pending: What the main loop is busy with; while there is something, QMP answers nothing.
        background: What the migration thread has still to do.
        block_work: What block jobs have still to do, beside the main loop.
        migration: The present or last migration.
        capabilities: Migration capabilities that are on.
        parameters: Migration parameters that were set.
        streams: Machine states written outside of the disks.
        fds: Names given by `getfd`.
        fdsets: For each descriptor given by `add-fd`, the number of its set.
        sockets: Names that stand for sockets, as whoever passes the descriptors knows; the rest: files.
        frozen: The guest's memory is write-protected for good (fact 41).
        died: Why QEMU is gone; empty while it lives.
        automatic_nodes: How many node names QEMU has made up.
        images: Closed images that hold snapshots, by file: whoever opens them finds those again.
        made: Files that commands made.
    """

    profile: Profile
    machine: GuestMachine
    run_state: str = "running"
    machine_version: int = 0
    versions_used: int = 0
    clock_ns: int = 0
    host_ns: int = 0
    graph: BlockGraph = BlockGraph()
    devices: tuple[BlockBackend, ...] = ()
    jobs: tuple[Job, ...] = ()
    pending: tuple[MicroStep, ...] = ()
    background: tuple[MicroStep, ...] = ()
    block_work: tuple[MicroStep, ...] = ()
    migration: Migration = Migration()
    capabilities: frozenset[str] = frozenset()
    parameters: tuple[tuple[str, object], ...] = ()
    streams: tuple[StreamContent, ...] = ()
    fds: tuple[str, ...] = ()
    fdsets: tuple[int, ...] = ()
    sockets: frozenset[str] = frozenset()
    frozen: bool = False
    died: str = ""
    automatic_nodes: int = 0
    images: tuple[tuple[str, Qcow2Image], ...] = ()
    made: tuple[MadeFile, ...] = ()

    @property
    def running(self) -> bool:
        """Whether QEMU says that the guest runs."""
        return self.run_state == "running"

    def job(self, job_id: str) -> Job | None:
        """The job of that id, if there is one."""
        return next((job for job in self.jobs if job.id == job_id), None)

    def with_job(self, job: Job) -> VmState:
        """The state with this job in the place of the one of its id."""
        return evolve(self, jobs=tuple(job if old.id == job.id else old for old in self.jobs))

    def with_nodes(self, *nodes: Node) -> VmState:
        """The state with these nodes in the places of those of their names."""
        return evolve(self, graph=self.graph.replaced(*nodes))
