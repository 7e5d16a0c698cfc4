"""Machine state in a qcow2 image of its own, as `snapshot-save` writes it into a node of its own.

It is what an internal snapshot of a disk is, beside the disks: id, tag and vm-clock tell it from others,
and the same instant from another (fact 90).  The image holds nothing else and nobody writes to it again,
so that the file as a whole is told by its record too.  `snapshot-load` reads it, in the VM itself where
all disks' parts are inside their images, else in a fresh QEMU.  Such a load writes to the node that it
reads from: so QEMU gets the image for reading only, under a throw-away layer (fact 91).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from attrs import frozen

from planner.errors import Problem
from planner.model.facts import Disk
from planner.model.image import Image
from planner.parts.part import Seen
from planner.parts.part_image import ImagesByDisk
from planner.parts.state_file import StateFile

__all__ = ["VmstateImage"]

_NS_PER_S = 1e9


@frozen
class VmstateImage(StateFile):
    """The machine state in an image; ``file`` is the image.

    Attributes:
        snapshot_id: QEMU's id of the snapshot in it.
        vm_clock_ns: The guest's clock in it.
        vm_state_size_bytes: Machine state in it.
    """

    kind: ClassVar[str] = "vmstate-image"
    read_by_load: ClassVar[bool] = True

    snapshot_id: str = ""
    vm_clock_ns: int = 0

    @property
    def magic(self) -> bytes:
        """qcow2's."""
        return b"QFI\xfb"

    @property
    def length_bytes(self) -> int | None:
        """As it was when the image was looked at."""
        return self.record.size_bytes if self.record.known else None

    @property
    def instant_ns(self) -> int | None:
        """The guest's clock in it."""
        return self.vm_clock_ns

    @property
    def plain_id(self) -> str:
        """QEMU's id of it."""
        return self.snapshot_id

    @property
    def images(self) -> tuple[tuple[str, str], ...]:
        """The image."""
        return ((self.file, self.format),)

    def problems(self, tag: str, seen: Seen) -> Iterator[Problem]:
        """Whether the image is there, and holds what was saved."""
        yield from super().problems(tag, seen)
        image = seen.images.get(self.disk, {}).get(self.file)
        if image is not None:
            yield from self._content(tag, image)

    def _content(self, tag: str, image: Image) -> Iterator[Problem]:
        held = [each for each in image.snapshots if each.name == tag]
        found = [each for each in held if each.id == self.snapshot_id]
        if not found:
            words = f"snapshot {self.snapshot_id} {tag!r} is not in {self.file}"
            yield Problem("part-missing", self.file, words, "the snapshot cannot be restored")
            return
        if len(held) > 1:
            words = f"it holds {len(held)} snapshots {tag!r}; QEMU takes the first (fact 22)"
            yield Problem("part-twice", self.file, words, "put the file back that was saved")
        if found[0].vm_clock_ns != self.vm_clock_ns:
            was, now = (ns / _NS_PER_S for ns in (self.vm_clock_ns, found[0].vm_clock_ns))
            words = f"it is of another instant: vm-clock {now:.9f} s and not {was:.9f} s (fact 15)"
            yield Problem("part-differs", self.file, words)
        if found[0].vm_state_size_bytes != self.vm_state_size_bytes:
            now_bytes = found[0].vm_state_size_bytes
            words = f"its machine state has {now_bytes} bytes and not {self.vm_state_size_bytes}"
            yield Problem("part-differs", self.file, words)

    def load_problems(self, tag: str, disk: Disk | None, images: ImagesByDisk) -> Iterator[Problem]:
        """Whether the image can be looked into, and holds what was saved."""
        yield from self._readable(images)
        yield from self.problems(tag, Seen(images))

    def restore_problems(self, tag: str, seen: Seen) -> Iterator[Problem]:
        """A fresh QEMU reads the image that was saved."""
        yield from self._readable(seen.images)
        yield from self.problems(tag, seen)

    def _readable(self, images: ImagesByDisk) -> Iterator[Problem]:
        if self.file not in images.get(self.disk, {}):
            words = "the image with the machine state cannot be looked at from here"
            remedy = "put it back, or run snapplan on the machine that QEMU runs on"
            yield Problem("file-missing", self.file, words, remedy)
