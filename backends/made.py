"""Files of a template: the memory that a QEMU fills, and what is named when it is whole.

Rules: what holds memory is 0600 from its first byte; no file is replaced; a file gets its name when it
is on the disk, is as it will stay, and nobody has it open.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from backends.by_descriptor import Folder, open_file
from backends.locks import is_open
from planner.host.evidence import digest_of
from planner.host.processes import open_files
from planner.run.ports import HostRefused

__all__ = ["MADE", "do_made"]

_Told = Mapping[str, object]

MADE = ("create-memory", "keep-made", "remove-made")


def do_made(instruction: str, path: Path, arguments: _Told) -> _Told:
    """Do one of the instructions of `backends.copies.RestoringHost` about a template's files.

    - ``create-memory`` (path, size, like): an empty file of this length, its owner that of another file.
    - ``keep-made`` (path, temporary, mode, empty-too): gives a file its name for good; tells the
      ``sha256`` of its content.  One that holds nothing but zeros is refused, unless it may.
    - ``remove-made`` (path): removes it, if it is there; refuses one that somebody has open.
    """
    if instruction == "create-memory":
        return _create(path, arguments)
    if instruction == "keep-made":
        return _keep(path, arguments)
    return _remove(path)


def _create(path: Path, arguments: _Told) -> _Told:
    size, like = arguments.get("size"), arguments.get("like")
    if type(size) is not int or size <= 0:
        raise HostRefused("arguments-malformed", f"size is {size!r}")
    with Folder(path.parent) as folder:
        descriptor = folder.create(path.name)
        try:
            os.ftruncate(descriptor, size)
            if isinstance(like, str) and like.startswith("/"):
                owner = _owner(Path(like))
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        except OSError:
            folder.remove(path.name)
            raise
        finally:
            os.close(descriptor)
        folder.sync()
    return {}


def _owner(like: Path) -> os.stat_result:
    descriptor = open_file(like)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _keep(path: Path, arguments: _Told) -> _Told:
    temporary, mode = Path(str(arguments.get("temporary"))), arguments.get("mode")
    if temporary.parent != path.parent or type(mode) is not int:
        raise HostRefused("arguments-malformed", f"{temporary} is not beside {path}")
    with Folder(path.parent) as folder:
        descriptor = folder.open(temporary.name)
        try:
            _must_be_closed(temporary, descriptor)
            if not arguments.get("empty-too") and not os.fstat(descriptor).st_blocks:
                raise HostRefused("memory-empty", f"QEMU wrote nothing to {temporary}")
            os.fchmod(descriptor, mode & stat.S_IMODE(os.fstat(descriptor).st_mode))
            os.fsync(descriptor)
            digest = digest_of(descriptor)
            folder.link(descriptor, path.name)
        finally:
            os.close(descriptor)
        folder.remove(temporary.name)
        folder.sync()
    return {"sha256": digest}


def _remove(path: Path) -> _Told:
    with Folder(path.parent) as folder:
        found = folder.look(path.name)
        if found is None:
            return {"removed": False}
        if not stat.S_ISREG(found.st_mode):
            raise HostRefused("file-differs", f"{path} is no file that was made here")
        try:
            descriptor = folder.open(path.name)
        except OSError as error:
            if error.errno != errno.EACCES:
                raise
        else:
            try:
                _must_be_closed(path, descriptor)
            finally:
                os.close(descriptor)
        folder.remove(path.name)
        folder.sync()
    return {"removed": True}


def _must_be_closed(path: Path, descriptor: int) -> None:
    for pid in open_files([str(path)]).users:
        raise HostRefused("image-in-use", f"{path} is open in process {pid}")
    if is_open(descriptor):
        raise HostRefused("image-in-use", f"{path} is open in a QEMU")
