"""Whether the files that a snapshot consists of are still the very files that were saved.

What the guest goes on writing to is no matter here: only streams of machine state, frozen images, and
the images under a part.  Nobody may write to these, so each is compared with what was recorded of it.

Evidence of another content is another length, another time of the last write, and another digest.  Only
a hint is another inode or device (a copy, a move to another file system, a restart of the host) and
another change time (a hard link, another owner or mode).  Where there is a digest, the content decides
and nothing else: it is read where anything at all, hints too, is not as it was.  Where there is none, a
hint is told and no more.  A QEMU or qemu-img that opens an image and writes nothing changes none of the
evidence (fact 61).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from attrs import frozen

from planner.errors import Problem
from planner.model.manifest import FileRecord, Manifest, ManifestPart, PartKind

__all__ = [
    "FoundFile",
    "RecordedFile",
    "Role",
    "evidence_of_change",
    "file_notes",
    "file_problems",
    "recorded_files",
    "removal_problem",
    "wants_digest",
]

_NS_PER_S = 1_000_000_000


class Role(StrEnum):
    """What a file is to a snapshot."""

    STREAM = "the machine state"
    FROZEN = "the frozen image"
    BACKING = "the image under a part"


@frozen
class RecordedFile:
    """A file that must be what it was.

    Attributes:
        subject: The disk; for a stream its file.
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


def recorded_files(manifest: Manifest) -> Iterator[RecordedFile]:
    """Every file of a snapshot that was looked at when it was finished."""
    for part in manifest.parts:
        subject = part.disk or part.file
        if part.kind is not PartKind.INTERNAL and part.record.known:
            role = Role.STREAM if part.kind is PartKind.STREAM else Role.FROZEN
            yield RecordedFile(subject, role, part.file, part.record)
        for image in part.backing or ():
            if image.record.known:
                yield RecordedFile(subject, Role.BACKING, image.file, image.record)


def wants_digest(was: FileRecord, now: FileRecord, *, deep: bool) -> bool:
    """Whether the content has to be read to tell whether it is the same."""
    if not was.sha256 or was.size_bytes != now.size_bytes:
        return False
    return deep or _identity(was) != _identity(now)


def _identity(record: FileRecord) -> tuple[int, int, int]:
    """Without the device: its number may be another after each start of the host."""
    return record.inode, record.mtime_ns, record.ctime_ns


def file_problems(manifest: Manifest, found: Mapping[str, FoundFile]) -> Iterator[Problem]:
    """Which files are others than those that were saved.

    Args:
        manifest: What was recorded.
        found: By path, the files as they are; those that are not in it were not looked at.
    """
    for recorded in recorded_files(manifest):
        looked = found.get(recorded.file)
        if looked is None:
            continue
        if looked.record is not None:
            yield from _changed(recorded, looked.record)
        elif recorded.role is Role.BACKING:  # whether the parts' own files are there, others tell
            words = f"{recorded.file} lies under its part, and is not there"
            yield Problem("file-missing", recorded.subject, words, "put it back")


def _changed(recorded: RecordedFile, now: FileRecord) -> Iterator[Problem]:
    was, stream = recorded.record, recorded.role is Role.STREAM
    if stream and was.size_bytes != now.size_bytes:
        return  # `planner.parts.part_checks.stream_problems` tells
    what = evidence_of_change(was, now)
    if not what:
        return
    if stream:
        yield Problem(
            "stream-differs",
            recorded.subject,
            f"it is not the machine state that was saved: {what}",
            "put the file back that was there when the snapshot was made",
        )
        return
    yield Problem(
        "base-changed",
        recorded.subject,
        f"{recorded.role} {recorded.file} was written to since the snapshot: {what}",
        _remedy(recorded),
    )


def evidence_of_change(was: FileRecord, now: FileRecord) -> str:
    """In what a file's content is another; empty: nothing says so."""
    if was.size_bytes != now.size_bytes:
        return f"it had {was.size_bytes} bytes and has {now.size_bytes}"
    if was.sha256 and now.sha256:
        return "" if was.sha256 == now.sha256 else "its SHA-256 digest is another"
    if was.mtime_ns != now.mtime_ns:
        return f"last written to at {_seconds(was.mtime_ns)}, and now at {_seconds(now.mtime_ns)}"
    return ""


def _remedy(recorded: RecordedFile) -> str:
    at = _seconds(recorded.record.mtime_ns)
    return (
        "take the image from a backup of that time, or delete the snapshot with --overlays keep; only "
        "if it is a copy of the same content that did not keep its time: "
        f"touch -d @{at} {recorded.file}"
    )


def _seconds(time_ns: int) -> str:
    return f"{time_ns // _NS_PER_S}.{time_ns % _NS_PER_S:09d}"


def removal_problem(part: ManifestPart, found: FoundFile, *, is_stream: bool) -> Problem | None:
    """Why a stream's file must not be removed: it is not provably the one that was saved.

    A name is no proof: by now it may be anybody's file.  Its length is compared always, and its content
    where there is a digest; without one it must be the same file, unchanged, as far as it was recorded.

    Args:
        part: The stream.
        found: What has its name now; with a digest where `wants_digest` asks for one.
        is_stream: Whether it begins as machine state does.
    """
    now = found.record
    if now is None:
        return None  # it is gone already
    if not now.known:
        why = "it is no regular file"
    elif now.size_bytes != part.vm_state_size_bytes:
        why = f"it had {part.vm_state_size_bytes} bytes and has {now.size_bytes}"
    elif not is_stream:
        why = "it does not begin as machine state does"
    else:
        why = _other_stream(part.record, now, found.unread)
    if not why:
        return None
    words = f"it is not removed: it is not the machine state that was saved: {why}"
    remedy = "see what it is, and move it away or remove it; then delete again"
    return Problem("stream-differs", part.file, words, remedy)


def _other_stream(was: FileRecord, now: FileRecord, unread: str) -> str:
    """Why a file of the right length is not known to be the stream; empty: it is."""
    if not was.known or _identity(was) == _identity(now):
        return ""
    if was.sha256 and not now.sha256:
        return f"its content cannot be compared ({unread or 'it was not read'})"
    what = evidence_of_change(was, now)
    if (
        what or was.sha256 or was.inode == now.inode
    ):  # the last: only its mode, owner or names changed
        return what
    return "it is another file, of the same length and time"


def file_notes(
    manifest: Manifest, found: Mapping[str, FoundFile], *, deep: bool = False
) -> Iterator[str]:
    """What could not be proved of files that nothing speaks against.

    Args:
        manifest: What was recorded.
        found: By path, the files as they are.
        deep: Whether every content was to be compared.
    """
    for recorded in recorded_files(manifest):
        looked = found.get(recorded.file)
        if looked is None or looked.record is None or any(_changed(recorded, looked.record)):
            continue
        was, now = recorded.record, looked.record
        if now.sha256:
            continue
        name = f"{recorded.role}, {recorded.file}"
        if looked.unread:
            yield f"the content of {name}: it cannot be read ({looked.unread})"
        elif was.inode != now.inode:
            yield (
                f"the content of {name}: it is another file than the one that was saved, a copy "
                "perhaps, of the same length and time; no digest was made (`apply --digest`)"
            )
        elif deep:
            yield f"the content of {name}: no digest was made (`apply --digest`); length and time agree"
    for part in manifest.parts:
        if part.kind is not PartKind.INTERNAL and not part.record.known:
            yield f"whether {part.file} was written to since: nothing was recorded of it"
