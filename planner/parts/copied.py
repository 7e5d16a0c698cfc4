"""A full copy of a disk in a file of its own, as it was at one instant.

It is told from any other file by what it was: its length, its times, and its digest where one was made;
nobody writes to it again.  A fresh QEMU gets an overlay on it.  It is deleted by removing its file.  The
disk's own chain of images knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import ClassVar, Self

from attrs import evolve, frozen

from planner.errors import Problem
from planner.model.facts import Disk
from planner.parts.deletions import DeletionOrigin, RemovedFile
from planner.parts.disk_part import DiskPart
from planner.parts.part import LookAtFile, ManifestPart, Seen
from planner.parts.part_image import ImagesByDisk
from planner.parts.readied import Readied, RestoredPlace, Restoring, free_name, made_beside
from planner.parts.recorded_files import (
    FoundFile,
    RecordedFile,
    Role,
    evidence_of_change,
    identity,
)

__all__ = ["CopiedDisk"]

_MAGIC = b"QFI\xfb"


def _changed(recorded: RecordedFile, what: str) -> Problem:
    return Problem(
        "copy-differs",
        recorded.subject,
        f"{recorded.file} is not the copy that was saved: {what}",
        "put the file back that was there when the snapshot was made",
    )


_ROLE = Role("the copy", _changed, length_told=False)


@frozen
class CopiedDisk(DiskPart):
    """A copy of a disk; ``file`` is that copy.

    Attributes:
        size_bytes: The file's length.
    """

    kind: ClassVar[str] = "copy"

    size_bytes: int = 0

    @property
    def own_file(self) -> str:
        """The copy."""
        return self.file

    @property
    def frozen_file(self) -> str:
        """The copy: an overlay of a restore may lie on it."""
        return self.file

    @property
    def needed_unchanged(self) -> Iterator[str]:
        """The copy."""
        if self.file:
            yield self.file

    @property
    def recorded_files(self) -> Iterator[RecordedFile]:
        """The copy: nobody writes to it again."""
        yield RecordedFile(self.subject, _ROLE, self.file, self.record)

    def renewed(self, look: LookAtFile) -> Self:
        """The part with what its file is now."""
        return evolve(self, record=look(self.file, self.record, content=True))

    def problems(self, tag: str, seen: Seen) -> Iterator[Problem]:
        """Whether the file is there, and as long as it was."""
        if seen.sizes is None:
            return
        size = seen.sizes.get(self.file)
        if size is None:
            message = f"its copy {self.file} is not there"
            yield Problem("file-missing", self.disk, message, "the snapshot cannot be restored")
        elif size != self.size_bytes:
            message = f"its copy had {self.size_bytes} bytes and has {size}"
            yield Problem("part-differs", self.disk, message)

    def is_there(
        self,
        tag: str,
        images: ImagesByDisk,
        there: Mapping[str, bool | None],
    ) -> bool | None:
        """Whether its file is there."""
        return there.get(self.file)

    def needed_by(self, theirs: ManifestPart, tag: str) -> Iterator[Problem]:
        """Whether another snapshot's part is the same file, or lies on it."""
        if theirs.file == self.file or self.file in set(theirs.needed_unchanged):
            words = f"{self.file} belongs to {tag!r}, too"
            yield Problem("part-needed", self.disk, words, f"delete {tag!r} first")

    def delete_problems(self, origin: DeletionOrigin) -> Iterator[Problem]:
        """Whether its file can be reached; what it is, `removal_problem` tells."""
        if not origin.files_here:
            yield origin.elsewhere(self.subject, self.file)
        for disk, files in origin.images.items():
            if origin.disks is not None and self.file in files:
                words = f"the VM's {disk} lies on {self.file}"
                yield Problem("part-needed", self.disk, words, "end the VM, and start it elsewhere")

    def deletion(self, origin: DeletionOrigin) -> RemovedFile:
        """Its file is removed; one that is gone already may be removed again."""
        return RemovedFile(self.file)

    def removal_problem(self, found: FoundFile, begins: bytes) -> Problem | None:
        """Why its file must not be removed: it is not provably the one that was saved."""
        now = found.record
        if now is None:
            return None  # it is gone already
        if not now.known:
            why = "it is no regular file"
        elif self.format == "qcow2" and not begins.startswith(_MAGIC):
            why = "it is no qcow2 image"
        elif now.size_bytes != self.size_bytes:
            why = f"it had {self.size_bytes} bytes and has {now.size_bytes}"
        elif not self.record.known and self.format == "raw":
            why = "nothing was written down by which raw bytes could be told from others"
        elif not self.record.known or identity(self.record) == identity(now):
            return None
        elif self.record.sha256 and not now.sha256:
            why = f"its content cannot be compared ({found.unread or 'it was not read'})"
        else:
            why = evidence_of_change(self.record, now)
        if not why:
            return None
        words = f"it is not removed: it is not the copy that was saved: {why}"
        remedy = "see what it is, and move it away or remove it; then delete again"
        return Problem("copy-differs", self.file, words, remedy)

    def load_problems(self, tag: str, disk: Disk | None, images: ImagesByDisk) -> Iterator[Problem]:
        """No running VM goes back to it."""
        yield Problem(
            "load-cannot",
            self.disk,
            f"its part is the copy {self.file}: no QMP command goes back to it",
            "end the VM, then `snapplan load --run LINE`, or without it to see the way",
        )

    def revert_problems(self, tag: str, images: ImagesByDisk) -> Iterator[Problem]:
        """There is nothing in the image to revert to."""
        words = "its part is a copy, and no snapshot in an image"
        yield Problem("load-cannot", self.disk, words)

    def restore_problems(self, tag: str, seen: Seen) -> Iterator[Problem]:
        """Whether an overlay can be put on the copy."""
        yield from self.problems(tag, seen)
        image = seen.images.get(self.disk, {}).get(self.file)
        if image is None:
            yield Problem("file-missing", self.disk, f"its copy {self.file} cannot be looked at")
        elif (image.format, image.virtual_size_bytes) != (self.format, self.virtual_size_bytes):
            was = f"{self.format} of {self.virtual_size_bytes} bytes"
            words = f"its copy was {was} and is {image.format} of {image.virtual_size_bytes}"
            yield Problem("part-size-differs", self.disk, words)

    def restored(self, restoring: Restoring) -> RestoredPlace:
        """On a new overlay beside the copy, which stays as it is."""
        folder, _, name = self.file.rpartition("/")
        file = free_name(folder, name, restoring.taken, restoring.number)
        return RestoredPlace(Readied.NEW_OVERLAY, file, "qcow2")

    @property
    def restored_folder(self) -> str:
        """The folder of the copy."""
        return self.file.rpartition("/")[0] or "/"

    def restored_problems(self, taken: Collection[str]) -> Iterator[Problem]:
        """Overlays that restores put on the copy: it must not be removed."""
        for path in made_beside(self.file, taken):
            words = f"{path} was made by a restore, and lies on {self.file}"
            yield Problem("part-needed", self.disk, words, "remove it if it is not needed")

    def ready_instruction(self, how: Readied, file: str) -> tuple[str, dict[str, object]]:
        """A new overlay is made."""
        more = {"base": self.file, "base-format": self.format, "size": self.virtual_size_bytes}
        return "create-overlay", {"path": file, **more}

    def ready_command(self, how: Readied, file: str, image_format: str) -> list[str]:
        """The same with qemu-img."""
        over = ["-F", self.format, "-b", self.file]
        size = str(self.virtual_size_bytes)
        return ["qemu-img", "create", "-q", "-f", image_format, *over, "--", file, size]
