"""Devices that a clone cannot have: what they do to memory that is a private mapping of a file.

A clone maps the template's memory for itself alone.  Whoever else is to see that memory (another
process, another VM) sees the file, and nothing of what the guest writes.  And memory that the guest
gives back to the host is taken out of the file, whoever else maps it, unless QEMU may not write to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from planner.errors import Problem
from planner.model.facts import QemuVersion
from planner.model.peripherals import Device
from planner.template.memory_words import maps_read_only

__all__ = ["unfit_devices"]

_SHARING = "the memory is shared with another process, which does not see what a clone writes to it"
_UNFIT = (
    ("vhost-user-", _SHARING),
    ("ivshmem-", "other processes share its memory"),
    ("vfio-", "a device of the host writes to the guest's memory"),
    ("vhost-vdpa-", "a device of the host writes to the guest's memory"),
    ("pvrdma", "a device of the host writes to the guest's memory"),
    ("virtio-mem", "it gives memory back by taking it out of its file, which the clones share"),
    ("virtio-pmem", "its memory is a file of its own, which the clones would share"),
    ("nvdimm", "its memory is a file of its own, which the clones would share"),
)
_BALLOON = "virtio-balloon"


def unfit_devices(devices: Iterable[Device], qemu: QemuVersion) -> Iterator[Problem]:
    """Which devices of a VM stand against a template of it, each with why.

    Args:
        devices: The devices that its user has added.
        qemu: The QEMU that starts it.
    """
    for device in devices:
        why = next((why for start, why in _UNFIT if device.type.startswith(start)), "")
        if why:
            remedy = "save the VM without it, if it is to be restored at once"
            yield Problem("template-device", device.id, f"{device.type}: {why}", remedy)
        elif device.type.startswith(_BALLOON) and not maps_read_only(qemu):
            words = (
                f"{device.type}: QEMU {qemu} takes memory that the guest gives back out of the file "
                "that all clones share"
            )
            remedy = (
                "save the VM without it, or use QEMU 8.2 or later, which opens the file read-only"
            )
            yield Problem("template-device", device.id, words, remedy)
