"""Looks at the files that a snapshot consists of: when it is finished, and before it is used.

What is compared, and what it proves, is in `planner.parts.file_checks`; here is the reading.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from attrs import evolve

from planner.errors import Problem
from planner.model.manifest import BackingImage, FileRecord, Manifest, ManifestPart, PartKind
from planner.parts.file_checks import (
    FoundFile,
    file_problems,
    recorded_files,
    removal_problem,
    wants_digest,
)

__all__ = [
    "check_files",
    "digest_of",
    "look_at_files",
    "record_of",
    "removal_problems",
    "stream_sizes",
    "with_records",
]

_AT_ONCE_BYTES = 1024 * 1024
_STREAM_MAGIC = b"QEVM"  # QEMU's, of `mapped-ram` files too


def digest_of(descriptor: int) -> str:
    """SHA-256 of an open file's content, in hexadecimal; its offset stays where it is.

    Raises:
        OSError: It cannot be read.
    """
    made = hashlib.sha256()
    at = 0
    while block := os.pread(descriptor, _AT_ONCE_BYTES, at):
        made.update(block)
        at += len(block)
    return made.hexdigest()


def record_of(file: str, *, digest: bool = False) -> FileRecord:
    """What a file is now; unknown where it is no regular file of this machine that can be looked at.

    Args:
        file: Its path.
        digest: Whether all of it is to be read; where it cannot be, the record has no digest.
    """
    try:
        found = Path(file).stat() if file.startswith("/") else None
    except OSError:
        found = None
    if found is None or not stat.S_ISREG(found.st_mode):
        return FileRecord()
    made = _record(found)
    if not digest:
        return made
    try:
        return evolve(made, sha256=_read(file, made))
    except OSError:
        return made


def _record(found: os.stat_result) -> FileRecord:
    return FileRecord(
        found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    )


def _read(file: str, made: FileRecord) -> str:
    """The digest of just that file, unchanged while it was read."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        digest = digest_of(descriptor)
        if _record(os.fstat(descriptor)) != made:
            raise OSError(0, "it changes while it is read")
        return digest
    finally:
        os.close(descriptor)


def with_records(manifest: Manifest, *, digest: bool = False) -> Manifest:
    """A manifest with what its files are now, when the VM has just shown the whole snapshot.

    Args:
        manifest: Its streams may have their digests already.
        digest: Whether frozen images, and those under a part, are read as well.
    """
    parts = tuple(_with_records(part, digest=digest) for part in manifest.parts)
    return evolve(manifest, parts=parts)


def _with_records(part: ManifestPart, *, digest: bool) -> ManifestPart:
    record = part.record
    if part.kind is PartKind.STREAM:
        found = record_of(part.file)
        record = evolve(found, sha256=record.sha256) if found.known else record
    elif part.kind is PartKind.OVERLAY:
        record = record_of(part.file, digest=digest)
    backing = part.backing
    if backing:
        backing = tuple(_backing(image, digest=digest) for image in backing)
    return evolve(part, record=record, backing=backing)


def _backing(image: BackingImage, *, digest: bool) -> BackingImage:
    return evolve(image, record=record_of(image.file, digest=digest))


def look_at_files(manifest: Manifest, *, deep: bool = False) -> dict[str, FoundFile]:
    """A snapshot's files as they are, by path; their content is read only where it has to be.

    Args:
        manifest: What was recorded.
        deep: Whether every content that has a digest is compared.
    """
    found = {}
    for recorded in recorded_files(manifest):
        now = record_of(recorded.file)
        if not now.known:
            found[recorded.file] = FoundFile(None)
        elif not wants_digest(recorded.record, now, deep=deep):
            found[recorded.file] = FoundFile(now)
        else:
            found[recorded.file] = _with_digest(recorded.file, now)
    return found


def removal_problems(manifest: Manifest) -> tuple[Problem, ...]:
    """Which files of machine state are not provably those that were saved, so that they stay."""
    found = (_removal_problem(part) for part in manifest.of_kind(PartKind.STREAM))
    return tuple(problem for problem in found if problem is not None)


def _removal_problem(part: ManifestPart) -> Problem | None:
    now = FileRecord() if Path(part.file).is_symlink() else record_of(part.file)
    if not now.known:
        there = os.path.lexists(part.file)
        return removal_problem(part, FoundFile(now if there else None), is_stream=False)
    wanted = wants_digest(part.record, now, deep=False)
    found = _with_digest(part.file, now) if wanted else FoundFile(now)
    return removal_problem(part, found, is_stream=_begins_as_stream(part.file))


def _begins_as_stream(file: str) -> bool:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return os.pread(descriptor, len(_STREAM_MAGIC), 0) == _STREAM_MAGIC
    finally:
        os.close(descriptor)


def _with_digest(file: str, now: FileRecord) -> FoundFile:
    try:
        return FoundFile(evolve(now, sha256=_read(file, now)))
    except OSError as error:
        return FoundFile(now, unread=error.strerror or str(error))


def stream_sizes(manifest: Manifest) -> dict[str, int | None]:
    """Bytes of each stream's file; None for one that is not there."""
    sizes: dict[str, int | None] = {}
    for part in manifest.of_kind(PartKind.STREAM):
        path = Path(part.file)
        sizes[part.file] = path.stat().st_size if path.is_file() else None
    return sizes


def check_files(manifest: Manifest) -> tuple[Problem, ...]:
    """Which files of a snapshot are others than those that were saved; reads what it has to."""
    return tuple(file_problems(manifest, look_at_files(manifest)))
