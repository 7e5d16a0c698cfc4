"""What can be asked of machine state that has a file of its own, in whatever format.

Nobody writes to the file again.  It is told from any other by its length, its first bytes, its digest
where one was made, and what the file was; it is deleted by removing it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Self

from attrs import evolve, frozen

from planner.errors import Problem
from planner.model.file_record import FileRecord
from planner.parts.deletions import DeletionOrigin, RemovedFile
from planner.parts.part import LookAtFile, ManifestPart, Seen
from planner.parts.part_image import ImagesByDisk
from planner.parts.recorded_files import (
    FoundFile,
    RecordedFile,
    Role,
    evidence_of_change,
    identity,
)

__all__ = ["StateFile"]


def _changed(recorded: RecordedFile, what: str) -> Problem:
    return Problem(
        "stream-differs",
        recorded.subject,
        f"it is not the machine state that was saved: {what}",
        "put the file back that was there when the snapshot was made",
    )


_ROLE = Role("the machine state", _changed, length_told=False)


@frozen
class StateFile(ManifestPart):
    """The machine state in a file; ``file`` is that file.

    Attributes:
        vm_state_size_bytes: Bytes of machine state in it.
    """

    vm_state_size_bytes: int = 0

    @property
    @abstractmethod
    def magic(self) -> bytes:
        """How such a file begins."""

    @property
    @abstractmethod
    def length_bytes(self) -> int | None:
        """The file's length; None: nobody wrote it down."""

    @property
    def holds_state(self) -> bool:
        """Always."""
        return True

    @property
    def state_bytes(self) -> int:
        """Bytes of machine state in it."""
        return self.vm_state_size_bytes

    @property
    def own_file(self) -> str:
        """The file."""
        return self.file

    @property
    def recorded_files(self) -> Iterator[RecordedFile]:
        """The file: nobody writes to it again."""
        yield RecordedFile(self.subject, _ROLE, self.file, self.record)

    def renewed(self, look: LookAtFile) -> Self:
        """The part with what its file is now; a digest of it is made while it is written."""
        return evolve(self, record=look(self.file, self.record, content=False))

    def problems(self, tag: str, seen: Seen) -> Iterator[Problem]:
        """Whether the file is there, and as long as it was."""
        if seen.sizes is None:
            return
        size = seen.sizes.get(self.file)
        if size is None:
            message = "the machine state's file is not there"
            yield Problem("file-missing", self.file, message, "the snapshot cannot be restored")
        elif self.length_bytes not in (None, size):
            message = f"the machine state had {self.length_bytes} bytes and has {size}"
            yield Problem("part-differs", self.file, message)

    def is_there(
        self,
        tag: str,
        images: ImagesByDisk,
        there: Mapping[str, bool | None],
    ) -> bool | None:
        """Whether its file is there."""
        return there.get(self.file)

    def needed_by(self, theirs: ManifestPart, tag: str) -> Iterator[Problem]:
        """Whether another snapshot's record names the same file."""
        if isinstance(theirs, StateFile) and theirs.file == self.file:
            words = f"{self.file} is the machine state of {tag!r}, too"
            yield Problem("part-needed", self.subject, words, f"delete {tag!r} first")

    def delete_problems(self, origin: DeletionOrigin) -> Iterator[Problem]:
        """Whether its file can be reached; what it is, `removal_problem` tells."""
        if not origin.files_here:
            yield origin.elsewhere(self.subject, self.file)

    def deletion(self, origin: DeletionOrigin) -> RemovedFile:
        """Its file is removed; one that is gone already may be removed again."""
        return RemovedFile(self.file)

    def removal_problem(self, found: FoundFile, begins: bytes) -> Problem | None:
        """Why its file must not be removed: it is not provably the one that was saved.

        A name is no proof: by now it may be anybody's file.  Its length is compared always, and its
        content where there is a digest; without one it must be the same file, unchanged, as far as it
        was recorded.
        """
        now = found.record
        if now is None:
            return None  # it is gone already
        if not now.known:
            why = "it is no regular file"
        elif self.length_bytes not in (None, now.size_bytes):
            why = f"it had {self.length_bytes} bytes and has {now.size_bytes}"
        elif not begins.startswith(self.magic):
            why = "it does not begin as machine state does"
        else:
            why = _other_file(self.record, now, found.unread)
        if not why:
            return None
        words = f"it is not removed: it is not the machine state that was saved: {why}"
        remedy = "see what it is, and move it away or remove it; then delete again"
        return Problem("stream-differs", self.file, words, remedy)


def _other_file(was: FileRecord, now: FileRecord, unread: str) -> str:
    """Why a file of the right length is not known to be the machine state; empty: it is."""
    if not was.known or identity(was) == identity(now):
        return ""
    if was.sha256 and not now.sha256:
        return f"its content cannot be compared ({unread or 'it was not read'})"
    what = evidence_of_change(was, now)
    if (
        what or was.sha256 or was.inode == now.inode
    ):  # the last: only its mode, owner or names changed
        return what
    return "it is another file, of the same length and time"
