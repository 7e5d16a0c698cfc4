"""What a topology comes to: QEMU's command line, and the images that it wants."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from backends.qemu_facts.lab import guest, images
from backends.qemu_facts.lab.qcow2 import qcow2_image
from backends.qemu_facts.lab.topology import DiskKind, DiskSpec, Topology

__all__ = [
    "attached",
    "backing_path",
    "command_line",
    "create_images",
    "image_path",
]


# --- the command line ---------------------------------------------------------------------------


def command_line(directory: Path, topology: Topology) -> list[str]:
    """QEMU's arguments for a topology whose images lie in the directory."""
    accelerator = topology.accelerator or os.environ.get("SNAPPLAN_ACCEL", "tcg")
    arguments = ["-machine", f"pc,accel={accelerator}", "-m", str(topology.memory_mib)]
    arguments += ["-nodefaults", "-no-user-config", "-display", "none"]
    for name in ("qmp", "tool"):
        arguments += ["-qmp", f"unix:{directory / name},server=on,wait=off"]
    arguments += ["-debugcon", f"file:{directory / 'console'}"]
    if any(disk.device.startswith("scsi") for disk in topology.disks):
        arguments += ["-device", "virtio-scsi-pci,id=scsi0"]
    for disk in topology.disks:
        arguments += disk_arguments(directory, topology, disk)
    if topology.paused:
        arguments.append("-S")
    return [*arguments, *topology.extra_args]


def disk_arguments(directory: Path, topology: Topology, disk: DiskSpec) -> list[str]:
    """The arguments for one disk: its nodes, and its device if it has one."""
    path = image_path(directory, disk)
    if disk.kind is DiskKind.DRIVE:
        nodes = ["-drive", f"if=none,id={disk.name},file={path},format=qcow2"]
    else:
        nodes = ["-blockdev", json.dumps(node_tree(disk, path))]
    if disk.kind is DiskKind.FILTERED:
        limits = {"bps-total": topology.throttle_bps}
        group = {"qom-type": "throttle-group", "id": f"{disk.name}-group", "limits": limits}
        nodes = ["-object", json.dumps(group), *nodes]
    if disk.device == "pflash":
        return [*nodes, "-machine", f"pflash{pflash(topology).index(disk)}={disk.name}"]
    if disk not in attached(topology):
        return nodes
    device: dict[str, object] = {"driver": disk.device, "drive": disk.name}
    device["bootindex"] = attached(topology).index(disk)
    if disk.stops:
        device |= {"werror": "stop", "rerror": "stop"}
    if disk.kind is not DiskKind.DRIVE:
        device["id"] = f"{disk.name}-device"
    return [*nodes, "-device", json.dumps(device)]


def attached(topology: Topology) -> list[DiskSpec]:
    """The disks that the guest has, in the BIOS's order."""
    return [
        disk
        for disk in topology.disks
        if disk.kind is not DiskKind.UNATTACHED and disk.device != "pflash"
    ]


def pflash(topology: Topology) -> list[DiskSpec]:
    """The firmware drives: the first is the code, the second its variables."""
    return [disk for disk in topology.disks if disk.device == "pflash"]


def node_tree(disk: DiskSpec, path: Path) -> dict:
    """The `-blockdev` tree of a disk; `topology` says which node has which name."""
    tree = {
        "driver": image_format(disk),
        "node-name": disk.format_node,
        "file": {"driver": "file", "node-name": f"{disk.name}-file", "filename": str(path)},
    }
    return _TREES.get(disk.kind, lambda _disk, _path, tree: tree)(disk, path, tree)


def _read_only(_disk: DiskSpec, _path: Path, tree: dict) -> dict:
    file = {**tree["file"], "read-only": True}
    return {**tree, "file": file, "read-only": True}


def _backed(disk: DiskSpec, path: Path, tree: dict) -> dict:
    file = {"driver": "file", "filename": str(backing_path(path)), "read-only": True}
    backing = {"driver": "qcow2", "node-name": f"{disk.name}-backing", "file": file}
    return {**tree, "backing": {**backing, "read-only": True}}


def _filtered(disk: DiskSpec, _path: Path, tree: dict) -> dict:
    group = f"{disk.name}-group"
    throttle = {"driver": "throttle", "node-name": disk.name, "throttle-group": group}
    return {**throttle, "file": tree}


def _faulty(disk: DiskSpec, _path: Path, tree: dict) -> dict:
    image = {**tree["file"], "node-name": f"{disk.name}-image"}
    rules = [dict(rule) for rule in disk.inject_error]
    blkdebug = {"driver": "blkdebug", "node-name": f"{disk.name}-file", "inject-error": rules}
    return {**tree, "file": {**blkdebug, "image": image}}


def _data_file(disk: DiskSpec, path: Path, tree: dict) -> dict:
    name, filename = f"{disk.name}-data", str(images.data_file_of(path))
    return {**tree, "data-file": {"driver": "file", "node-name": name, "filename": filename}}


_TREES: Mapping[DiskKind, Callable[[DiskSpec, Path, dict], dict]] = {
    DiskKind.READ_ONLY: _read_only,
    DiskKind.BACKED: _backed,
    DiskKind.FILTERED: _filtered,
    DiskKind.FAULTY: _faulty,
    DiskKind.DATA_FILE: _data_file,
}


# --- the images ---------------------------------------------------------------------------------


def image_format(disk: DiskSpec) -> str:
    """The format of a disk's image."""
    return "raw" if disk.kind is DiskKind.RAW else "qcow2"


def image_path(directory: Path, disk: DiskSpec) -> Path:
    """The file of a disk."""
    return directory / f"{disk.name}.{image_format(disk)}"


def backing_path(path: Path) -> Path:
    """The file under a BACKED disk."""
    return path.with_suffix(".base")


def create_images(directory: Path, topology: Topology) -> None:
    """Make the images of all disks; the first attached one boots the guest, if there is one."""
    for disk in topology.disks:
        boots = topology.guest and disk is attached(topology)[0]
        sector = guest.boot_sector(guest_drives(topology)) if boots else b""
        create_image(directory, disk, sector)


def create_image(directory: Path, disk: DiskSpec, sector: bytes) -> None:
    """Make the image of one disk, and what lies under it or beside it."""
    path = image_path(directory, disk)
    if disk.kind is DiskKind.DATA_FILE:
        if sector:
            raise ValueError("the guest boots from no disk with a data file")
        images.create_with_data_file(path, disk.size_bytes)
    elif disk.kind is DiskKind.BACKED:
        images.create(None, backing_path(path), "qcow2", disk.size_bytes, sector)
        over = qcow2_image(disk.size_bytes, backing=str(backing_path(path)))
        images.write_private(path, over)
    elif disk.content:
        content = Path(disk.content).read_bytes()
        images.write_private(path, content.ljust(disk.size_bytes, b"\0"))
    else:
        images.create(None, path, image_format(disk), disk.size_bytes, sector)


def guest_drives(topology: Topology) -> list[int]:
    """The BIOS numbers, from 0 on, of the disks that the guest checks."""
    names = topology.guest_disks
    return [
        number
        for number, disk in enumerate(attached(topology))
        if (disk.kind is not DiskKind.READ_ONLY if names is None else disk.name in names)
    ]
