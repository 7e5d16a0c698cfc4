"""Machine state in a file of its own, as `migrate` writes it.

It is confirmed by its length.  A running VM cannot read it: a QEMU that is started with ``-incoming``
does (facts 31 and 32).  What the file is, and how it is deleted, `planner.parts.state_file` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from attrs import frozen

from planner.errors import Problem
from planner.model.facts import Disk
from planner.model.libvirt_save import MAGIC, STREAM_BEGINS_BYTES
from planner.parts.part import Seen
from planner.parts.part_image import ImagesByDisk
from planner.parts.state_file import StateFile

__all__ = ["LIBVIRT", "MAPPED", "PLAIN", "StateStream"]

PLAIN = "stream"
"""Pages one after the other, as they were sent."""
MAPPED = "mapped-ram"
"""Each page at a place of its own in the file."""
LIBVIRT = "libvirt-save"
"""Pages one after the other, behind libvirt's header (`planner.model.libvirt_save`)."""


@frozen
class StateStream(StateFile):
    """The machine state in a file; ``file`` is that file, ``format`` `PLAIN`, `MAPPED` or `LIBVIRT`.

    Attributes:
        vm_state_size_bytes: The file's length.
    """

    kind: ClassVar[str] = "stream"

    @property
    def magic(self) -> bytes:
        """QEMU's, of `mapped-ram` files too; or libvirt's."""
        return MAGIC if self.format == LIBVIRT else b"QEVM"

    @property
    def begins_bytes(self) -> int:
        """Where in the file QEMU begins to read."""
        return STREAM_BEGINS_BYTES if self.format == LIBVIRT else 0

    @property
    def length_bytes(self) -> int:
        """The same."""
        return self.vm_state_size_bytes

    def load_problems(self, tag: str, disk: Disk | None, images: ImagesByDisk) -> Iterator[Problem]:
        """No running VM reads it."""
        yield Problem(
            "load-cannot",
            tag,
            "its machine state is in a file of its own: it is read by a QEMU that starts with it "
            "(fact 32)",
            "end the VM, then `snapplan load --run LINE`, or without it to see the way",
        )

    def restore_problems(self, tag: str, seen: Seen) -> Iterator[Problem]:
        """A fresh QEMU reads the file that was saved."""
        yield from self.problems(tag, seen)
