"""New images made of old ones, for a restore that is to lose nothing.  The old ones are only read."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from attrs import define, field

from backends.host import QemuHost
from planner.execute.ports import HostRefused

__all__ = ["RestoringHost"]

_Told = Mapping[str, object]


@define
class RestoringHost(QemuHost):
    """A `QemuHost` that makes copies as well; each is private until it is whole, and lasts then.

    - ``convert-snapshot`` (path, source, snapshot-id): what a snapshot's disk held, as a new qcow2.
    - ``copy-image`` (path, source): the image with all its snapshots.
    - ``remove-copy`` (path): removes one that was made here, in this run.
    """

    _copies: dict[str, tuple[int, int]] = field(factory=dict)

    def _do(self, instruction: str, path: Path, arguments: _Told) -> _Told:
        if instruction == "remove-copy":
            return self._remove_copy(path)
        if instruction not in ("convert-snapshot", "copy-image"):
            return super()._do(instruction, path, arguments)
        self._make_copy(path, Path(str(arguments["source"])), arguments.get("snapshot-id"))
        return {}

    def _make_copy(self, path: Path, source: Path, snapshot_id: object) -> None:
        owner = source.stat()
        if os.path.lexists(path):
            raise HostRefused("file-exists", f"{path} exists, and is not overwritten")
        temporary = path.with_name(f".{path.name}.snapplan")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if snapshot_id is None:
                shutil.copyfile(source, temporary)
            else:
                wanted = f"snapshot.id={snapshot_id}"
                self._qemu_img(
                    *("convert", "-q", "-f", "qcow2", "-O", "qcow2", "-l", wanted),
                    *("--", str(source), str(temporary)),
                )
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(owner.st_mode))
            os.fsync(descriptor)
            path.hardlink_to(temporary)
            made = os.fstat(descriptor)
            self._copies[str(path)] = (made.st_dev, made.st_ino)
        finally:
            os.close(descriptor)
            temporary.unlink()
        _sync_folder(path.parent)

    def _remove_copy(self, path: Path) -> _Told:
        made = self._copies.pop(str(path), None)
        if made is None or not os.path.lexists(path):
            return {"removed": False}
        found = path.lstat()
        if (found.st_dev, found.st_ino) != made:
            raise HostRefused("file-differs", f"{path} is no file that was made here")
        path.unlink()
        _sync_folder(path.parent)
        return {"removed": True}


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
