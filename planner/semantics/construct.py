"""Making a state: from a short description of disks, or from facts that were kept.

Rules: a disk's kind decides its nodes as QEMU would build them, protocol nodes first, names
predictable: the root node is called like the disk, the image under a filter ``NAME-format``, the
protocol node ``NAME-file``, and so on.  Snapshots that were there before get content versions by
their vm-clock: the same clock is taken for the same instant, as fact 15 says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import evolve, frozen

from planner.errors import BadInput
from planner.model.facts import Disk, Facts, SnapshotInfo
from planner.semantics.block import FILTER_DRIVERS
from planner.semantics.nodes import automatic_name
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
from planner.semantics.versions import profile_of

__all__ = ["DISK_KINDS", "DiskDescription", "EPOCH_NS", "state_from_facts", "vm_state"]

DISK_KINDS = (
    "qcow2",
    "raw",
    "read-only",
    "backing",
    "throttle",
    "data-file",
    "drive",
    "faulty",
    "unattached",
)
EPOCH_NS = 1_795_000_000 * 10**9
"""The host's clock where a simulation begins, unless it is told otherwise."""

_DEFAULT_BYTES = 8 * 2**20


@frozen
class DiskDescription:
    """A disk in a few words.

    Attributes:
        name: Its root node's name, or for kind ``drive`` its ``-drive`` id.
        kind: One of `DISK_KINDS`.
        size_bytes: Virtual size.
        snapshots: Internal snapshots that it has from before.
        device: QEMU's driver of the guest's device.
        directory: Where its files are said to lie.
    """

    name: str
    kind: str = "qcow2"
    size_bytes: int = _DEFAULT_BYTES
    snapshots: tuple[SnapshotInfo, ...] = ()
    directory: str = "/images"
    device: str = "virtio-blk-pci"


def vm_state(  # noqa: PLR0913 - what a VM may be
    version: str = "7.2",
    disks: Iterable[DiskDescription | str] = ("disk0",),
    *,
    run_state: str = "running",
    blocked_reasons: tuple[str, ...] = (),
    host_ns: int = EPOCH_NS,
    daemon: bool = False,
) -> VmState:
    """A VM with these disks, or a storage daemon that exports them.

    Args:
        version: "7.2", "10.0" or "11.1".
        disks: Descriptions; a bare name stands for an attached qcow2 disk.
        run_state: QEMU's word.
        blocked_reasons: Migration blockers.
        host_ns: The host's clock, nanoseconds since the epoch.
        daemon: Whether it is a storage daemon; then each disk is called by its export's id, too.

    Raises:
        BadInput: A kind or a version is not known.
    """
    described = [DiskDescription(d) if isinstance(d, str) else d for d in disks]
    builder = _Builder(_versions_by_clock(s for d in described for s in d.snapshots))
    for disk in described:
        builder.add(disk)
    machine = GuestMachine("", blocked_reasons=blocked_reasons, daemon=daemon)
    return builder.finish(version, run_state, machine, host_ns)


def _versions_by_clock(snapshots: Iterable[SnapshotInfo]) -> dict[int, int]:
    clocks = sorted({snapshot.vm_clock_ns for snapshot in snapshots})
    return {clock_ns: number for number, clock_ns in enumerate(clocks, start=1)}


class _Builder:
    """Collects nodes and devices; used once."""

    def __init__(self, versions: dict[int, int]) -> None:
        self.nodes: list[Node] = []
        self.drives: list[BlockBackend] = []
        self.devices: list[BlockBackend] = []
        self.versions = versions
        self.automatic = 0
        self.anonymous = 0

    @property
    def now(self) -> int:
        return len(self.versions) + 1

    def automatic_node(self) -> str:
        self.automatic += 1
        return automatic_name(self.automatic - 1)

    def layer(self, snapshots: Sequence[SnapshotInfo]) -> Qcow2Image:
        return Qcow2Image(content=self.now, snapshots=tuple(self._snapshot(s) for s in snapshots))

    def _snapshot(self, snapshot: SnapshotInfo) -> LayerSnapshot:
        version = self.versions[snapshot.vm_clock_ns]
        holds = snapshot.vm_state_size_bytes > 0
        return LayerSnapshot(
            id=snapshot.id,
            name=snapshot.name,
            vm_clock_ns=snapshot.vm_clock_ns,
            vm_state_size_bytes=snapshot.vm_state_size_bytes,
            content=version,
            instant=version,
            vmstate=Vmstate(version, snapshot.vm_clock_ns) if holds else None,
            date_ns=snapshot.date_ns,
        )

    def add(self, disk: DiskDescription) -> None:
        if disk.kind not in DISK_KINDS:
            raise BadInput(f"disk {disk.name}: kind {disk.kind!r}; known: {', '.join(DISK_KINDS)}")
        if disk.kind == "drive":
            self._add_drive(disk)
            return
        self._add_nodes(disk)
        if disk.kind != "unattached":
            self.devices.append(BlockBackend("", _qdev(disk), disk.name))

    def _add_drive(self, disk: DiskDescription) -> None:
        file_name, name = self.automatic_node(), self.automatic_node()
        path = f"{disk.directory}/{disk.name}.qcow2"
        self.nodes.append(Node(file_name, "file", path, disk.size_bytes, owned=False))
        layer = self.layer(disk.snapshots)
        self.nodes.append(
            Node(name, "qcow2", path, disk.size_bytes, file=file_name, owned=False, layer=layer)
        )
        self.drives.append(BlockBackend(disk.name, self.anonymous_qdev(), name))

    def anonymous_qdev(self) -> str:
        self.anonymous += 1
        return f"/machine/peripheral-anon/device[{self.anonymous - 1}]/virtio-backend"

    def _add_nodes(self, disk: DiskDescription) -> None:
        driver = "raw" if disk.kind == "raw" else "qcow2"
        path = f"{disk.directory}/{disk.name}.{driver}"
        size, read_only = disk.size_bytes, disk.kind == "read-only"
        file_name = f"{disk.name}-file"
        if disk.kind == "faulty":
            self.nodes.append(Node(f"{disk.name}-image", "file", path, size, owned=False))
            image = f"{disk.name}-image"
            self.nodes.append(Node(file_name, "blkdebug", path, size, file=image, owned=False))
        else:
            self.nodes.append(Node(file_name, "file", path, size, read_only, owned=False))
        name = f"{disk.name}-format" if disk.kind == "throttle" else disk.name
        image_node = Node(
            name, driver, path, size, read_only, file=file_name, layer=self.layer(disk.snapshots)
        )
        self._add_image(disk, image_node)

    def _add_image(self, disk: DiskDescription, image: Node) -> None:
        if disk.kind == "backing":
            below = f"{disk.directory}/{disk.name}.base"
            base, base_file = f"{disk.name}-backing", self.automatic_node()
            self.nodes.append(evolve(image, backing=base))
            size = disk.size_bytes
            self.nodes.append(Node(base_file, "file", below, size, read_only=True, owned=False))
            self.nodes.append(
                Node(base, "qcow2", below, size, read_only=True, file=base_file, owned=False)
            )
        elif disk.kind == "data-file":
            data = f"{disk.name}-data"
            self.nodes.append(evolve(image, data_file=data))
            self.nodes.append(
                Node(data, "file", image.filename + ".data", image.size_bytes, owned=False)
            )
        elif disk.kind == "throttle":
            self.nodes.append(evolve(image, owned=False))
            self.nodes.append(
                Node(disk.name, "throttle", image.filename, image.size_bytes, file=image.name)
            )
        else:
            self.nodes.append(image)

    def finish(self, version: str, run_state: str, machine: GuestMachine, host_ns: int) -> VmState:
        profile = profile_of(version)
        if not machine.type:
            machine = evolve(machine, type=profile.machine)
        return VmState(
            profile=profile,
            machine=machine,
            run_state=run_state,
            machine_version=self.now,
            versions_used=self.now,
            clock_ns=max(self.versions, default=0) + 10**9,
            host_ns=host_ns,
            graph=BlockGraph(tuple(self.nodes)),
            devices=(*self.drives, *self.devices),
            automatic_nodes=self.automatic,
        )


def _qdev(disk: DiskDescription) -> str:
    """What QEMU calls the device: virtio's backend has no id of its own, so its path is shown."""
    device_id = f"{disk.name}-device"
    if not disk.device.startswith("virtio-blk"):
        return device_id
    return f"/machine/peripheral/{device_id}/virtio-backend"


# --- from facts ----------------------------------------


def state_from_facts(
    facts: Facts, *, version: str | None = None, host_ns: int = EPOCH_NS
) -> VmState:
    """The VM that facts describe, as if it stood there now.

    Args:
        facts: What was asked from a VM once, or written by hand.
        version: Another QEMU than the one in the facts.
        host_ns: The host's clock, nanoseconds since the epoch.

    Raises:
        BadInput: The version is not modelled.
    """
    builder = _Builder(_versions_by_clock(s for d in facts.disks for s in d.snapshots))
    for disk in facts.disks:
        _add_disk(builder, disk)
    profile = profile_of(version or str(facts.qemu))
    machine = GuestMachine(
        type=facts.machine or profile.machine,
        target=facts.target or "x86_64",
        name=facts.vm_name,
        uuid=facts.vm_uuid or GuestMachine("").uuid,
        blocked_reasons=facts.blocked_reasons,
        added=facts.devices,
        tpms=facts.tpms,
        objects=facts.objects,
        hardware=facts.hardware or GuestMachine("").hardware,
        daemon=facts.is_daemon,
    )
    state = builder.finish(profile.name, facts.run_state, machine, host_ns)
    jobs = tuple(Job(job.id, job.type, "", (), status=job.status) for job in facts.jobs)
    return evolve(
        state,
        jobs=jobs,
        migration=Migration(status=facts.migration, error=facts.migration_error),
        capabilities=frozenset(name for name, on in facts.capabilities.items() if on),
        parameters=tuple(sorted(facts.parameters.items())),
    )


def _add_disk(builder: _Builder, disk: Disk) -> None:
    image = _image_of(builder, disk)
    top = image.name
    for layer in reversed(disk.filters):
        name = layer.node or builder.automatic_node()
        driver = layer.driver if layer.driver in FILTER_DRIVERS else "throttle"
        builder.nodes.append(
            Node(name, driver, image.filename, image.size_bytes, disk.read_only, file=top)
        )
        top = name
    if not disk.attached:
        return
    device = BlockBackend(disk.drive_id, disk.qdev, top)
    (builder.drives if disk.drive_id else builder.devices).append(device)


def _image_of(builder: _Builder, disk: Disk) -> Node:
    size, path = disk.virtual_size_bytes or _DEFAULT_BYTES, disk.filename
    below = [name for name in disk.below if not name.startswith("#")]
    file_name = below[0] if below else builder.automatic_node()
    protocol = Node(file_name, "file", path, size, disk.read_only, active=disk.active, owned=False)
    builder.nodes.append(protocol)
    name = builder.automatic_node() if disk.node.startswith("@") else disk.node
    image = Node(
        name,
        disk.driver,
        path,
        size,
        disk.read_only,
        file=file_name,
        backing=_add_backing(builder, disk),
        data_file=_add_data_file(builder, disk, below[1:]),
        encrypted=disk.encrypted,
        active=disk.active,
        owned=not disk.node.startswith("@"),
        layer=builder.layer(disk.snapshots),
        bitmaps=disk.bitmaps,
    )
    builder.nodes.append(image)
    return image


def _add_backing(builder: _Builder, disk: Disk) -> str:
    above = ""
    size = disk.virtual_size_bytes or _DEFAULT_BYTES
    for layer in reversed(disk.backing):
        name = layer.node or builder.automatic_node()
        file_name = builder.automatic_node()
        builder.nodes.append(
            Node(file_name, "file", layer.filename, size, read_only=True, owned=False)
        )
        builder.nodes.append(
            Node(
                name,
                layer.driver,
                layer.filename,
                size,
                read_only=True,
                file=file_name,
                backing=above,
                owned=False,
            )
        )
        above = name
    return above


def _add_data_file(builder: _Builder, disk: Disk, names: Sequence[str]) -> str:
    if not disk.data_file:
        return ""
    name = names[0] if names else builder.automatic_node()
    size = disk.virtual_size_bytes or _DEFAULT_BYTES
    builder.nodes.append(Node(name, "file", disk.filename + ".data", size, owned=False))
    return name
