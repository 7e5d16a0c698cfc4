"""What VM a test wants, as data.

A topology says nothing of files, sockets or processes, so one test can run on a real QEMU and on a
simulated one. Node names follow from the disk's name: for a disk `disk0`,

- `disk0` is the root node, the one that the device uses (for FILTERED the throttle filter);
- `disk0-format` is the node under the filter of a FILTERED disk, and nothing else;
- `disk0-file` is the protocol node, `disk0-backing` the backing node, `disk0-data` the data file;
- `disk0-device` is the device's qdev id.

A DRIVE disk (`-drive id=disk0`) has QEMU's own `#blockNNN` node names and no qdev id.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["DiskKind", "DiskSpec", "Topology", "two_disks"]


class DiskKind(enum.Enum):
    """How a disk is built; the value is for test ids."""

    QCOW2 = "qcow2"
    RAW = "raw"
    READ_ONLY = "read-only"  # a qcow2 that the VM may not write
    BACKED = "backed"  # a qcow2 over a read-only qcow2
    FILTERED = "filtered"  # throttle over qcow2
    FAULTY = "faulty"  # qcow2 over blkdebug, which injects DiskSpec.inject_error
    DRIVE = "drive"  # -drive if=none,id=NAME: no node name, no qdev id
    DATA_FILE = "data-file"  # qcow2 with an external data file
    UNATTACHED = "unattached"  # a qcow2 node that no device uses


@dataclass(frozen=True)
class DiskSpec:
    """One disk of a topology."""

    name: str
    kind: DiskKind = DiskKind.QCOW2
    size_bytes: int = 8 * 2**20
    device: str = "virtio-blk-pci"  # or another driver of -device, or "pflash"
    inject_error: tuple[Mapping[str, object], ...] = ()  # blkdebug's rules, FAULTY only
    stops: bool = False  # QEMU stops the guest where a request of its fails (werror, rerror)
    content: str = ""  # a file whose bytes a RAW disk holds at first: firmware

    @property
    def format_node(self) -> str:
        """The qcow2 (or raw) node: under the filter of a FILTERED disk, else the root node."""
        return f"{self.name}-format" if self.kind is DiskKind.FILTERED else self.name


@dataclass(frozen=True)
class Topology:
    """A VM: its disks in the order in which the BIOS sees them, memory, and how it starts.

    `guest` asks for the guest that checks itself, on `guest_disks` (all attached writable disks
    when None); without it the disks are empty and the VM sits in its BIOS. `throttle_bps` limits
    the FILTERED disks. `extra_args` and `umask` are for a real QEMU only.
    """

    disks: tuple[DiskSpec, ...]
    memory_mib: int = 64
    paused: bool = False
    guest: bool = False
    guest_disks: tuple[str, ...] | None = None
    throttle_bps: int = 0
    extra_args: tuple[str, ...] = ()
    accelerator: str | None = None
    umask: int = 0o077  # what QEMU makes may hold guest memory

    def disk(self, name: str) -> DiskSpec:
        """The disk of that name."""
        return next(disk for disk in self.disks if disk.name == name)


def two_disks(*kinds: DiskKind, **options) -> Topology:
    """The usual VM: `disk0` is a qcow2, and `disk1` on are of the given kinds (one qcow2 if none)."""
    all_kinds = (DiskKind.QCOW2, *(kinds or (DiskKind.QCOW2,)))
    disks = tuple(DiskSpec(f"disk{number}", kind) for number, kind in enumerate(all_kinds))
    return Topology(disks=disks, **options)
