"""What can be asked of a part of a disk, whatever its kind."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Self

from attrs import evolve, frozen

from planner.model.facts import Disk
from planner.model.file_record import UNSEEN, FileRecord
from planner.model.image_place import UNPLACED, ImagePlace
from planner.parts.part import LookAtFile, ManifestPart
from planner.parts.readied import Readied, RestoredPlace, Restoring
from planner.parts.recorded_files import BACKING, RecordedFile

__all__ = ["BackingImage", "DiskPart"]


@frozen(order=True)
class BackingImage:
    """An image under a part's own: the part's content is there where its own image holds nothing.

    Attributes:
        file: As QEMU names it.
        format: QEMU's block driver.
        record: What the file was, where it is one of this machine.
        key_secret: The id of the secret that opens it, where QEMU showed one.
    """

    file: str
    format: str
    record: FileRecord = UNSEEN
    key_secret: str = ""


@frozen
class DiskPart(ManifestPart):
    """A part of a disk.

    Attributes:
        qdev: What QEMU calls the device; empty when nothing was attached.
        node: Image node that holds the part, or a reference (``@disk``).
        root: What ``blockdev-snapshot-internal-sync`` takes.
        virtual_size_bytes: Size of the disk that the guest sees.
        backing: The images under ``file``, from the top down; None: nobody wrote them down.
        place: Which file ``file`` was on this machine; it is the same wherever it is moved to.
        key_secret: The id of the secret that opens ``file``, where QEMU showed one.
    """

    qdev: str = ""
    node: str = ""
    root: str = ""
    virtual_size_bytes: int = 0
    backing: tuple[BackingImage, ...] | None = None
    place: ImagePlace = UNPLACED
    key_secret: str = ""

    def with_files(self, today: Callable[[str], str]) -> Self:
        """The part with its files as they are called today."""
        moved = super().with_files(today)
        if not self.backing:
            return moved
        below = tuple(evolve(image, file=today(image.file)) for image in self.backing)
        return evolve(moved, backing=below)

    def on(self, disk: Disk) -> Self:
        """The part as that of a disk by its name and nodes of now; its device stays as recorded."""
        return evolve(self, disk=disk.name, node=disk.node, root=disk.root)

    @property
    def images(self) -> tuple[tuple[str, str], ...]:
        """Its images, each with its format, the one that holds it first."""
        return ((self.file, self.format),)

    @property
    def chain(self) -> tuple[tuple[str, str], ...] | None:
        """What lies under ``file``, each image with its format; None: nobody wrote it down."""
        if self.backing is None:
            return None
        return tuple((image.file, image.format) for image in self.backing)

    @property
    def needed_unchanged(self) -> Iterator[str]:
        """The images that must stay as they are for it."""
        yield from (image.file for image in self.backing or ())

    @property
    def recorded_files(self) -> Iterator[RecordedFile]:
        """The files of it that must be what they were."""
        for image in self.backing or ():
            yield RecordedFile(self.subject, BACKING, image.file, image.record)

    def renewed(self, look: LookAtFile) -> Self:
        """The part with what its files are now."""
        if not self.backing:
            return self
        backing = tuple(
            evolve(image, record=look(image.file, image.record, content=True))
            for image in self.backing
        )
        return evolve(self, backing=backing)

    @abstractmethod
    def restored(self, restoring: Restoring) -> RestoredPlace:
        """How a fresh QEMU's disk is made what it was."""

    @abstractmethod
    def ready_instruction(self, how: Readied, file: str) -> tuple[str, dict[str, object]]:
        """What the host is told to make a file from it: the instruction and its arguments."""

    @abstractmethod
    def ready_command(self, how: Readied, file: str, image_format: str) -> list[str]:
        """The same as a command line for a person; empty: there is nothing to do."""

    def expected_at(self, file: str) -> Self | None:
        """What `snapshot-load` finds of it in a fresh QEMU that opened this file; None: nothing."""
        return None
