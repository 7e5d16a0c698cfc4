"""Images that hold machine state and nothing else: made for a save, and opened for a load.

A new one is passed to QEMU open for reading and writing, so that it may be 0600 whoever QEMU runs as.

A load writes to the node that it reads from: it reverts that node to the snapshot too.  So a load gets
two descriptors (fact 91): the image for reading only, and a throw-away layer of no name in memory that
takes what QEMU writes.  The image cannot change, whatever happens, and nothing is left when both
programs are done with it, killed ones too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import frozen

from backends.by_descriptor import Folder, name_of
from backends.refusing import must_have_room
from planner.run.ports import HostRefused

__all__ = ["VMSTATE_IMAGES", "VmstateImages"]

VMSTATE_IMAGES = ("create-vmstate-image", "open-vmstate-image", "close-vmstate-image")
"""What is done about images of machine state; naming and removing them is done as of streams."""

_NEW_BYTES = 2**20
"""What a guest could use of it: nothing.  Machine state lies behind the end, and the file grows."""
_LEAST_BYTES = 2**20
"""A file system with less is full; how much machine state takes shows only when it is written."""
_ALIGNED_BYTES = 2**16
_SPARE_BYTES = 2**30
"""By so much the throw-away layer is larger than the image, for what QEMU adds to it; it is sparse."""


@frozen
class VmstateImages:
    """Does it, with the descriptors of a `backends.host.QemuHost`.

    Attributes:
        qemu_img: Runs qemu-img on files that are open.
        opened: Descriptors of files that were made here, by their temporary names.
        passed: Descriptors that QEMU may be given, by the names that a machine has for them.
    """

    qemu_img: Callable[..., str]
    opened: dict[str, int]
    passed: dict[str, int]

    def do(self, instruction: str, path: Path, temporary: Path) -> Mapping[str, object]:
        """Do one thing; see `backends.host.QemuHost`."""
        if instruction == "create-vmstate-image":
            self._create(path, temporary)
        elif instruction == "open-vmstate-image":
            self._open(path, temporary)
        else:
            self._close(str(path), str(temporary))
        return {}

    def _create(self, path: Path, temporary: Path) -> None:
        with Folder(path.parent) as folder:
            if folder.look(path.name) is not None:
                raise HostRefused("file-exists", f"{path} exists, and is not overwritten")
            descriptor = folder.create(temporary.name)
            try:
                self._make_qcow2(descriptor, _NEW_BYTES)
                must_have_room(path, descriptor, _LEAST_BYTES, "machine state, with some to spare,")
                passed = os.open(name_of(descriptor), os.O_RDWR | os.O_CLOEXEC)
            except BaseException:
                os.close(descriptor)
                folder.remove(temporary.name)
                raise
        self.opened[str(temporary)] = descriptor
        self.passed[str(temporary)] = passed

    def _open(self, path: Path, temporary: Path) -> None:
        self._close(str(path), str(temporary))
        with Folder(path.parent) as folder:
            image = folder.open(path.name)
        layer = os.memfd_create("snapplan-vmstate", os.MFD_CLOEXEC)
        try:
            size = os.fstat(image).st_size + _SPARE_BYTES
            self._make_qcow2(layer, size - size % _ALIGNED_BYTES)
        except BaseException:
            os.close(image)
            os.close(layer)
            raise
        self.passed[str(path)] = image
        self.passed[str(temporary)] = layer

    def _make_qcow2(self, descriptor: int, size_bytes: int) -> None:
        new = ("create", "-q", "-f", "qcow2", "--", name_of(descriptor), str(size_bytes))
        self.qemu_img(*new, descriptors=(descriptor,))

    def _close(self, *names: str) -> None:
        for name in names:
            descriptor = self.passed.pop(name, None)
            if descriptor is not None:
                os.close(descriptor)
