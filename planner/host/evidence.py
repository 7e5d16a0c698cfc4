"""Looks at the files that a snapshot consists of: when it is finished, and before it is used.

What is compared, and what it proves, is in `planner.parts.file_checks`; here is the reading.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

from attrs import evolve

from planner.errors import Problem
from planner.host.places import place_of
from planner.model.file_record import FileRecord
from planner.model.image_place import Reach
from planner.parts.disk_part import DiskPart
from planner.parts.file_checks import file_problems, recorded_files, template_files
from planner.parts.manifest import Manifest
from planner.parts.part import ManifestPart
from planner.parts.recorded_files import FoundFile, wants_digest

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
_ZEROS = bytes(_AT_ONCE_BYTES)
_TOLD_EACH = 16  # blocks

OnRead = Callable[[int, int], None]
"""Told how many bytes are read, and how many there are in all."""

_BEGINNING_BYTES = 16


def digest_of(descriptor: int, tell: Callable[[int], None] | None = None) -> str:
    """SHA-256 of an open file's content, in hexadecimal; its offset stays where it is.

    Of a file that is mostly a hole, a guest's memory, the hole is not read: it is zeros.

    Args:
        descriptor: The file.
        tell: Told now and then how many bytes are read.

    Raises:
        OSError: It cannot be read.
    """
    made, told = hashlib.sha256(), 0
    size = os.fstat(descriptor).st_size
    for begin, end, is_hole in _extents(descriptor, size):
        at = begin
        while at < end:
            wanted = min(_AT_ONCE_BYTES, end - at)
            block = _ZEROS[:wanted] if is_hole else os.pread(descriptor, wanted, at)
            if not block:
                return made.hexdigest()  # it was cut while it was read
            made.update(block)
            at += len(block)
            if tell is not None and at // _AT_ONCE_BYTES >= told + _TOLD_EACH:
                told = at // _AT_ONCE_BYTES
                tell(at)
    return made.hexdigest()


def _extents(descriptor: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """Where a file has data, and where holes: begin, end, and whether it is a hole."""
    try:  # a description of its own: to look for a hole moves the offset
        looked = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield 0, size, False
        return
    at = 0
    try:
        while at < size:
            try:
                data = min(os.lseek(looked, at, os.SEEK_DATA), size)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                data = size  # nothing but a hole is left
            if data > at:
                yield at, data, True
            if data < size:
                at = min(os.lseek(looked, data, os.SEEK_HOLE), size)
                yield data, at, False
            else:
                at = size
    finally:
        os.close(looked)


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


def _read(file: str, made: FileRecord, tell: Callable[[int], None] | None = None) -> str:
    """The digest of just that file, unchanged while it was read."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        digest = digest_of(descriptor, tell)
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

    def look(file: str, was: FileRecord, *, content: bool) -> FileRecord:
        found = record_of(file, digest=digest and content)
        if was.sha256:  # it was made while the file was written
            return evolve(found, sha256=was.sha256) if found.known else was
        return found

    return evolve(manifest, parts=tuple(_placed(part.renewed(look)) for part in manifest.parts))


def _placed(part: ManifestPart) -> ManifestPart:
    """The part with which file its image is: that stays the same when it is moved."""
    if not isinstance(part, DiskPart) or part.place.reach is not Reach.UNKNOWN:
        return part
    return evolve(part, place=place_of(part.file))


def look_at_files(
    manifest: Manifest,
    *,
    only: Collection[str] | None = None,
    deep: bool = False,
    tell: OnRead | None = None,
    template: bool = False,
) -> dict[str, FoundFile]:
    """A snapshot's files as they are, by path; their content is read only where it has to be.

    Args:
        manifest: What was recorded.
        only: Files to look at; None: all.
        deep: Whether every content that has a digest is compared.
        tell: Told while contents are read: how many bytes so far, and in all.
        template: Whether the files of its template are looked at as well.
    """
    more = template_files(manifest) if template else ()
    recorded_as = tuple(
        each for each in (*recorded_files(manifest), *more) if only is None or each.file in only
    )
    total = sum(each.record.size_bytes for each in recorded_as if each.record.sha256)
    found, before = {}, 0
    for recorded in recorded_as:
        now = record_of(recorded.file)
        if not now.known:
            found[recorded.file] = FoundFile(None)
        elif not wants_digest(recorded.record, now, deep=deep):
            found[recorded.file] = FoundFile(now)
        else:
            so_far = None if tell is None else partial(_tell_sum, tell, before, total)
            found[recorded.file] = _with_digest(recorded.file, now, so_far)
            before += now.size_bytes
    return found


def _tell_sum(tell: OnRead, before: int, total: int, done: int) -> None:
    tell(before + done, max(before + done, total))


def removal_problems(manifest: Manifest) -> tuple[Problem, ...]:
    """Which files that are a part alone are not provably those that were saved, so that they stay."""
    found = (_removal_problem(part) for part in manifest.parts if part.own_file)
    return tuple(problem for problem in found if problem is not None)


def _removal_problem(part: ManifestPart) -> Problem | None:
    file = part.own_file
    now = FileRecord() if Path(file).is_symlink() else record_of(file)
    if not now.known:
        there = os.path.lexists(file)
        return part.removal_problem(FoundFile(now if there else None), b"")
    wanted = wants_digest(part.record, now, deep=False)
    found = _with_digest(file, now) if wanted else FoundFile(now)
    return part.removal_problem(found, _beginning(file))


def _beginning(file: str) -> bytes:
    """The first bytes of a file; empty where it cannot be read."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return b""
    try:
        return os.pread(descriptor, _BEGINNING_BYTES, 0)
    finally:
        os.close(descriptor)


def _with_digest(
    file: str, now: FileRecord, tell: Callable[[int], None] | None = None
) -> FoundFile:
    try:
        return FoundFile(evolve(now, sha256=_read(file, now, tell)))
    except OSError as error:
        return FoundFile(now, unread=error.strerror or str(error))


def stream_sizes(manifest: Manifest) -> dict[str, int | None]:
    """Bytes of each file that is a part alone; None for one that is not there."""
    sizes: dict[str, int | None] = {}
    for file in (part.own_file for part in manifest.parts):
        if file:
            path = Path(file)
            sizes[file] = path.stat().st_size if path.is_file() else None
    return sizes


def check_files(manifest: Manifest) -> tuple[Problem, ...]:
    """Which files of a snapshot are others than those that were saved; reads what it has to."""
    return tuple(file_problems(manifest, look_at_files(manifest)))
