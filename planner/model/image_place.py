"""Which file an image is, and whether snapplan can reach it without its VM."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

__all__ = ["UNPLACED", "ImagePlace", "Reach"]


class Reach(StrEnum):
    """Whether the name that QEMU has for an image means that image here."""

    UNKNOWN = "unknown"
    """Nobody could look."""
    HERE = "here"
    """It does: QEMU has the very file open that has this name here."""
    ELSEWHERE = "elsewhere"
    """It does not: QEMU has other mounts, or was given the file by descriptor."""
    UNLINKED = "unlinked"
    """The file has no name any more, and is gone when QEMU ends, as those of ``-snapshot`` are."""
    NO_FILE = "no-file"
    """It is no file: another machine serves it, or it is put together of several nodes."""


@frozen(order=True)
class ImagePlace:
    """An image as the machine has it that snapplan runs on.

    Attributes:
        device: Its file system's number; of a block device its own.
        inode: The file's number in it; 0: a block device, or nobody could look.
        born_ns: When it was made, since the epoch; 0: not known, so that the numbers prove nothing.
        reach: Whether its name means it here.
    """

    device: int = 0
    inode: int = 0
    born_ns: int = 0
    reach: Reach = Reach.UNKNOWN

    @property
    def known(self) -> bool:
        """Whether it was looked at."""
        return bool(self.device or self.inode)

    def is_same_file(self, other: ImagePlace) -> bool:
        """Whether two looks, both of now, were at one file."""
        mine = (self.device, self.inode)
        return self.known and mine == (other.device, other.inode)

    def is_lasting_same(self, other: ImagePlace) -> bool:
        """Whether two looks at different times were at one file, wherever it has been moved since."""
        return bool(self.born_ns) and self.is_same_file(other) and self.born_ns == other.born_ns


UNPLACED = ImagePlace()
"""Of an image that nobody looked at."""
