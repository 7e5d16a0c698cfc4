"""What a VM consists of beside its disks: devices that the user added, TPMs, memory of the host's.

`query-block` shows what QEMU's block layer serves, and nothing else.  A disk that another process
serves, a folder of the host, memory that other processes map: such things show only as devices and as
objects of the machine (fact 59).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import frozen

from planner.model.answer import answer_objects

__all__ = [
    "ANONYMOUS",
    "BACKEND_PROPERTIES",
    "CHARDEVS",
    "MEMORY_BACKEND",
    "NAMED",
    "OBJECTS",
    "UNIX",
    "NETDEV",
    "Device",
    "HostObject",
    "Tpm",
    "children_of",
    "devices_of",
    "netdevs_of",
    "peer_of",
    "tpms_of",
]

NAMED = "/machine/peripheral"
"""Where QEMU keeps the devices that the user gave an id."""
ANONYMOUS = "/machine/peripheral-anon"
"""Where it keeps those without; they are numbered as the command line has them."""
CHARDEVS = "/chardevs"
"""Where it keeps its character devices: files, terminals, sockets to other processes."""
UNIX = "unix:"
"""What the address of a unix socket begins with; another address is ``HOST:PORT``."""
OBJECTS = "/objects"
"""Where it keeps what ``-object`` made."""
MEMORY_BACKEND = "memory-backend-"
"""What the types of objects that hold memory start with."""

BACKEND_PROPERTIES = (
    ("acpi-erst", "memdev"),
    ("cxl-type3", "persistent-memdev"),
    ("cxl-type3", "memdev"),
    ("ipmi-bmc-extern", "chardev"),
    ("ivshmem-plain", "memdev"),
    ("ivshmem-doorbell", "chardev"),
    ("nvdimm", "memdev"),
    ("nvme", "pmrdev"),
    ("tpm-", "tpmdev"),
    ("uefi-vars-", "jsonfile"),
    ("vfio-", "host"),
    ("vhost-scsi", "wwpn"),
    ("vhost-user-", "chardev"),
    ("virtio-9p-", "fsdev"),
    ("virtio-pmem", "memdev"),
)
"""What a device's type starts with, and a property that may name what the device works on.

Where a type has several, the first counts that names something.
"""

NETDEV = "netdev-"
"""What a network backend is called here, before QEMU's name of its type."""

_NETDEV = re.compile(r"^[ \\]*(\S+): index=\d+,type=(vhost-user|vhost-vdpa),", re.MULTILINE)
_CHILD = "child<"


@frozen(order=True)
class Device:
    """A device that the user added to the machine.

    Attributes:
        id: The id that the user gave it, else its QOM path.
        type: QEMU's name of its type.
        uses: What it works on, where that is not of the block layer and was asked for: the id of a
            chardev, an fsdev, a TPM, an object; a host's PCI address, or a file of the host.
        peer: Where its chardev's socket is connected, ``unix:PATH`` or ``HOST:PORT``; empty: it has
            none, or QEMU does not say.
    """

    id: str
    type: str
    uses: str = ""
    peer: str = ""

    @property
    def path(self) -> str:
        """Its QOM path."""
        return self.id if self.id.startswith("/") else f"{NAMED}/{self.id}"


@frozen(order=True)
class Tpm:
    """A TPM as `query-tpm` shows it.

    Attributes:
        id: The id of its ``-tpmdev``.
        model: The guest's device.
        type: ``emulator`` or ``passthrough``.
    """

    id: str
    model: str
    type: str


@frozen(order=True)
class HostObject:
    """An object that ``-object`` made: memory, or something that works on the guest's memory.

    Attributes:
        id: Its id.
        type: QEMU's name of its type.
        shared: Whether others see what is written to its memory.
        path: The file that it is mapped from; empty: none.
        filesystem: Type of the file system with that file; empty: not known.
    """

    id: str
    type: str
    shared: bool = False
    path: str = ""
    filesystem: str = ""


def children_of(reply: object) -> Iterator[tuple[str, str]]:
    """The children in an answer to `qom-list`, name and type; None: there is no such place."""
    for entry in answer_objects([] if reply is None else reply, "qom-list"):
        kind = entry.text("type")
        if kind.startswith(_CHILD) and kind.endswith(">"):
            yield entry.text("name"), kind[len(_CHILD) : -1]


def devices_of(named: object, anonymous: object) -> tuple[Device, ...]:
    """The devices in the answers to `qom-list` of both places; None: that place is not known."""
    with_id = [Device(name, kind) for name, kind in children_of(named)]
    without = [Device(f"{ANONYMOUS}/{name}", kind) for name, kind in children_of(anonymous)]
    return tuple(sorted([*with_id, *without]))


def peer_of(reply: object) -> str:
    """Where a chardev's socket is connected, by `qom-get` of its ``addr``; empty: nowhere known."""
    told = reply if isinstance(reply, dict) else {}
    path, host, port = (told.get(name) for name in ("path", "host", "port"))
    if told.get("type") == "unix" and isinstance(path, str) and told.get("abstract") is not True:
        return f"{UNIX}{path}"
    if told.get("type") == "inet" and isinstance(host, str) and isinstance(port, str):
        return f"{host}:{port}"
    return ""


def netdevs_of(reply: object) -> tuple[HostObject, ...]:
    """The network backends that write to the guest's memory themselves: of vhost-user and vhost-vdpa.

    Args:
        reply: What HMP's `info network` says; None: it says nothing.
    """
    text = reply if isinstance(reply, str) else ""
    return tuple(HostObject(name, f"{NETDEV}{kind}") for name, kind in _NETDEV.findall(text))


def tpms_of(reply: object) -> tuple[Tpm, ...]:
    """The TPMs in an answer to `query-tpm`; None: the command is not known."""
    entries = answer_objects([] if reply is None else reply, "query-tpm")
    return tuple(
        sorted(
            Tpm(entry.text("id"), entry.text("model"), entry.member("options").text("type", ""))
            for entry in entries
        )
    )
