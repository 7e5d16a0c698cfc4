"""What a VM is known by, from run to run."""

from __future__ import annotations

import hashlib
from pathlib import Path

from attrs import frozen

from planner.host.processes import Process
from planner.model.facts import Facts
from planner.store.claims import Claim, ImageFile, image_files
from planner.store.finding import DEFAULT_BACKEND, is_here, named_backend, plain_qemu_address

__all__ = ["VmIdentity", "absolute_address"]

_KEY_CHARACTERS = 16


@frozen
class VmIdentity:
    """What a VM is known by, from run to run.

    Attributes:
        uuid: `query-uuid`'s answer where one was set, else empty.
        name: `query-name`'s answer, or empty.
        address: Absolute path of its QMP socket, or ``host:port``.
        images: Those that it writes to.
        below: Images under these.
        process: Its QEMU, where that is known.
    """

    uuid: str
    name: str
    address: str
    images: tuple[ImageFile, ...] = ()
    below: frozenset[str] = frozenset()
    process: Process | None = None

    @classmethod
    def of(cls, facts: Facts, address: str, process: Process | None = None) -> VmIdentity:
        """The identity of a VM whose facts are known, reached at an address."""
        where = absolute_address(address)
        below = {layer.filename for disk in facts.disks for layer in disk.backing}
        here = process is not None or is_here(where)
        images = image_files(facts, here=here)
        return cls(facts.vm_uuid, facts.vm_name, where, images, frozenset(below - {""}), process)

    @property
    def claim(self) -> Claim:
        """What its folder says of it."""
        return Claim(self.uuid, self.name, self.address, self.images, self.process)

    @property
    def files(self) -> frozenset[str]:
        """Every image of it, those under others too."""
        return self.below | {image.path for image in self.images}

    @property
    def vm_key(self) -> str:
        """Name of its folder in a store."""
        kind = "uuid" if self.uuid else "name" if self.name else "socket"
        value = self.uuid or self.name or self.address
        return hashlib.sha256(f"{kind}\0{value}".encode()).hexdigest()[:_KEY_CHARACTERS]


def absolute_address(address: str) -> str:
    """An address that means the same from every folder: sockets by absolute path.

    An empty one stays empty: nobody knows where the VM is.  One of another backend stays as it is:
    what it looks like is that backend's own affair.
    """
    name, rest = named_backend(address)
    if name:
        own = rest if named_backend(rest)[0] == name else address
        return absolute_address(rest) if name == DEFAULT_BACKEND else own
    if not address:
        return ""
    address = plain_qemu_address(address)
    is_path = "/" in address or ":" not in address
    return str(Path(address).resolve()) if is_path else address
