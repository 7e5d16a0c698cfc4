"""Files that must be what they were: what is recorded of them, and what tells that they are others.

Evidence of another content is another length, another time of the last write, and another digest.  Only
a hint is another inode or device (a copy, a move to another file system, a restart of the host) and
another change time (a hard link, another owner or mode).  Where there is a digest, the content decides
and nothing else: it is read where anything at all, hints too, is not as it was.  Where there is none, a
hint is told and no more.  A QEMU or qemu-img that opens an image and writes nothing changes none of the
evidence (fact 61).
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from planner.errors import Problem
from planner.model.file_record import FileRecord

__all__ = [
    "BACKING",
    "FoundFile",
    "RecordedFile",
    "Role",
    "evidence_of_change",
    "identity",
    "image_changed",
    "wants_digest",
]

_NS_PER_S = 1_000_000_000


@frozen
class Role:
    """What a file is to a snapshot.

    Attributes:
        words: In words, for messages.
        changed: The problem of such a file that is another now, given the evidence in words.
        missing_told: Whether it is told here that it is not there; else the part's own check tells.
        length_told: Whether it is told here that its length is another; else likewise.
    """

    words: str
    changed: Callable[[RecordedFile, str], Problem]
    missing_told: bool = False
    length_told: bool = True


@frozen
class RecordedFile:
    """A file that must be what it was.

    Attributes:
        subject: The disk; of a part without a disk its file.
        role: What it is.
        file: Its path.
        record: What it was.
    """

    subject: str
    role: Role
    file: str
    record: FileRecord


@frozen
class FoundFile:
    """A file as it is.

    Attributes:
        record: What it is now; with a digest only where one was wanted; None: it is not there.
        unread: Why a digest that was wanted could not be made; empty: it was made, or not wanted.
    """

    record: FileRecord | None
    unread: str = ""


def wants_digest(was: FileRecord, now: FileRecord, *, deep: bool) -> bool:
    """Whether the content has to be read to tell whether it is the same."""
    if not was.sha256 or was.size_bytes != now.size_bytes:
        return False
    return deep or identity(was) != identity(now)


def identity(record: FileRecord) -> tuple[int, int, int]:
    """Without the device: its number may be another after each start of the host."""
    return record.inode, record.mtime_ns, record.ctime_ns


def evidence_of_change(was: FileRecord, now: FileRecord) -> str:
    """In what a file's content is another; empty: nothing says so."""
    if was.size_bytes != now.size_bytes:
        return f"it had {was.size_bytes} bytes and has {now.size_bytes}"
    if was.sha256 and now.sha256:
        return "" if was.sha256 == now.sha256 else "its SHA-256 digest is another"
    if was.mtime_ns != now.mtime_ns:
        return f"last written to at {_seconds(was.mtime_ns)}, and now at {_seconds(now.mtime_ns)}"
    return ""


def image_changed(recorded: RecordedFile, what: str) -> Problem:
    """An image was written to that nobody may write to."""
    at = _seconds(recorded.record.mtime_ns)
    return Problem(
        "base-changed",
        recorded.subject,
        f"{recorded.role.words} {recorded.file} was written to since the snapshot: {what}",
        "take the image from a backup of that time, or delete the snapshot with --overlays keep; only "
        "if it is a copy of the same content that did not keep its time: "
        f"touch -d @{at} {recorded.file}",
    )


BACKING = Role("the image under a part", image_changed, missing_told=True)
"""What lies under an image that holds a part."""


def _seconds(time_ns: int) -> str:
    return f"{time_ns // _NS_PER_S}.{time_ns % _NS_PER_S:09d}"
