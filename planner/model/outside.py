"""What writes to storage or to the guest's memory, and is not in QEMU's block layer.

No snapshot holds what such a device has stored, and none of QEMU's commands says so: a disk that
another process serves is simply missing from `query-block` (fact 59).  So it is looked for among the
devices of the machine, by their types.

Rules: what a type may be is judged by what it does on its own side of the wall, so a type that is not
known here is taken for harmless: most devices are.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

from attrs import frozen

from planner.model.facts import Facts
from planner.model.peripherals import NETDEV, UNIX, Device, HostObject, Tpm

__all__ = ["Outside", "outside_of"]


class _Reach(Enum):
    """What of a device is missed by a snapshot."""

    STORES = auto()
    """It stores something that is in no part."""
    WRITES_MEMORY = auto()
    """It stores nothing; another process or a device of the host writes to the guest's memory."""
    BOTH = auto()
    NAMED = auto()
    """Nothing that is known; what is behind it may still store something."""


# What a type starts with; the first that fits counts, so the longer one stands first.
_TYPES = (
    ("vhost-user-blk", _Reach.BOTH, "another process serves this disk"),
    ("vhost-user-scsi", _Reach.BOTH, "another process serves the disks behind it"),
    ("vhost-user-fs", _Reach.BOTH, "another process serves a folder of the host"),
    ("vhost-user-device", _Reach.BOTH, "another process is this device"),
    ("vhost-user-test-device", _Reach.BOTH, "another process is this device"),
    ("vhost-user-", _Reach.WRITES_MEMORY, "another process is this device"),
    ("cryptodev-vhost-user", _Reach.WRITES_MEMORY, "another process does its work"),
    (f"{NETDEV}vhost-user", _Reach.WRITES_MEMORY, "another process serves this network"),
    (f"{NETDEV}vhost-vdpa", _Reach.WRITES_MEMORY, "a network card of the host serves it"),
    ("pvrdma", _Reach.WRITES_MEMORY, "a network card of the host works for it"),
    ("vhost-scsi", _Reach.BOTH, "the host's kernel serves the disks behind it"),
    ("vhost-vdpa-device", _Reach.BOTH, "a device of the host is given to the guest"),
    ("vfio-user-", _Reach.BOTH, "another process is this device"),
    ("vfio-", _Reach.BOTH, "a device of the host is given to the guest"),
    ("x-pci-proxy-dev", _Reach.BOTH, "another process is this device"),
    ("virtio-9p-", _Reach.STORES, "the guest writes to a folder of the host"),
    ("usb-mtp", _Reach.STORES, "the guest writes to a folder of the host"),
    ("usb-host", _Reach.STORES, "a USB device of the host is given to the guest"),
    ("usb-redir", _Reach.NAMED, "a USB device may be redirected to the guest, a disk as well"),
    ("u2f-passthru", _Reach.NAMED, "a security key of the host is given to the guest"),
    ("ipmi-bmc-extern", _Reach.NAMED, "another process is the machine's management controller"),
    ("ivshmem-", _Reach.STORES, "other processes share its memory, and write to it"),
)
_MAPPED = ("nvdimm", "virtio-pmem", "acpi-erst", "cxl-type3", "nvme")
"""Devices with memory that outlives the VM, where they have some, mapped from a file and shared."""
_VARIABLES = "uefi-vars-"
"""The device of a firmware's variables; with a file it keeps them there (fact 136)."""
_MEMORY = (_Reach.WRITES_MEMORY, _Reach.BOTH)
_STORES = (_Reach.STORES, _Reach.BOTH)


@frozen(order=True)
class Outside:
    """Something outside of the block layer that a snapshot misses.

    Attributes:
        name: Its id, or its QOM path where it has none.
        type: QEMU's name of its type.
        uses: What it works on, where that is known.
        what: What it is, in a clause.
        names: Every name by which a request may mean it.
        stores: Whether it stores something that no part of a snapshot holds.
        writes_memory: Whether the guest's memory is written through it unseen by QEMU.
        in_machine_state: Whether machine state, where there is one, holds what it stores.
        peer: Where it is connected to the process that serves it, as `Device.peer`.
    """

    name: str
    type: str
    uses: str
    what: str
    names: tuple[str, ...]
    stores: bool = True
    writes_memory: bool = False
    in_machine_state: bool = False
    peer: str = ""

    def missed(self, *, machine_state: bool) -> bool:
        """Whether a snapshot, with machine state or without, lacks what it stores."""
        return self.stores and not (self.in_machine_state and machine_state)

    @property
    def label(self) -> str:
        """Its type, what it works on, and where that is connected."""
        at = f"at {self.peer.removeprefix(UNIX)}" if self.peer else ""
        return ", ".join(word for word in (self.type, self.uses, at) if word)


def outside_of(facts: Facts) -> tuple[Outside, ...]:
    """Everything of a VM that is outside of the block layer and may write, in order of name."""
    return tuple(sorted(_all(facts)))


def _all(facts: Facts) -> Iterator[Outside]:
    objects = {found.id: found for found in facts.objects}
    for device in facts.devices:
        yield from _by_type(device, (device.id, device.path))
        if device.type.startswith(_MAPPED):
            yield from _mapped(device, objects.get(device.uses))
        elif device.type.startswith(_VARIABLES) and device.uses:
            yield _variables(device)
    for found in facts.objects:
        yield from _by_type(Device(found.id, found.type), (found.id,))
    for tpm in facts.tpms:
        yield _tpm(tpm, facts)


def _by_type(device: Device, names: tuple[str, ...]) -> Iterator[Outside]:
    for start, reach, what in _TYPES:
        if device.type.startswith(start):
            yield Outside(
                device.id,
                device.type,
                device.uses,
                what,
                tuple(dict.fromkeys(names)),
                stores=reach in _STORES,
                writes_memory=reach in _MEMORY,
                peer=device.peer,
            )
            return


def _mapped(device: Device, memory: HostObject | None) -> Iterator[Outside]:
    # Not shared, it is memory like any other: what the guest writes there is in the machine state.
    if memory is not None and memory.shared:
        uses = memory.path or memory.id
        what = "the guest writes to a file of the host through it"
        names = tuple(dict.fromkeys((device.id, device.path)))
        yield Outside(device.id, device.type, uses, what, names)


def _variables(device: Device) -> Outside:
    # QEMU writes the file anew when it has loaded a machine state.
    what = (
        "the firmware keeps its variables in a file; machine state holds them, disks alone do not"
    )
    names = tuple(dict.fromkeys((device.id, device.path)))
    return Outside(device.id, device.type, device.uses, what, names, in_machine_state=True)


def _tpm(tpm: Tpm, facts: Facts) -> Outside:
    devices = [device for device in facts.devices if device.uses == tpm.id]
    names = [tpm.id, *(name for device in devices for name in (device.id, device.path))]
    emulated = tpm.type == "emulator"
    what = (
        "another process keeps its state; machine state holds it, disks alone do not"
        if emulated
        else "it is the host's own TPM"
    )
    return Outside(
        tpm.id,
        tpm.model,
        tpm.type,
        what,
        tuple(dict.fromkeys(names)),
        in_machine_state=emulated,
    )
