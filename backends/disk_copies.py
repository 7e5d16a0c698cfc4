"""The files of disks' copies: made with all their room before a copy begins, named once it is whole.

Rules: a copy is 0600 from its first byte, under a temporary name that nothing else has, and gets its own
name by a hard link, which never replaces a file.  Its room is taken (`fallocate`) before QEMU has it: a
copy that finds none while the guest runs fails the guest's own write (fact 113).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from attrs import frozen

from backends.by_descriptor import Folder, name_of, open_file
from backends.refusing import must_have_room
from planner.host.file_locks import is_locked
from planner.run.ports import HostRefused

__all__ = ["DISK_COPIES", "DiskCopies"]

DISK_COPIES = ("create-copy", "keep-copy")

_FORMATS = ("qcow2", "raw")


class _QemuImg(Protocol):
    def __call__(self, *arguments: str, descriptors: tuple[int, ...] = ()) -> str: ...


@frozen
class DiskCopies:
    """Does what a host is told about copies.

    - ``create-copy`` (path, temporary, base, size, format): an empty image of that size, qcow2 or raw,
      0600 and of the owner of the base, where that is a file, with all its room taken.
    - ``keep-copy`` (path, temporary): gives it its name, and tells its ``size`` in bytes.

    Attributes:
        qemu_img: Runs it.
    """

    qemu_img: _QemuImg

    def do(
        self, instruction: str, path: Path, temporary: Path, arguments: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Do one of `DISK_COPIES`.

        Raises:
            HostRefused: It was not done, and nothing new is there.
            OSError: Likewise.
        """
        if instruction == "keep-copy":
            return _keep(path, temporary)
        wanted = str(arguments.get("format", "qcow2"))
        if wanted not in _FORMATS:
            raise HostRefused("arguments-malformed", f"{path}: a copy is no {wanted[:40]!r} image")
        self._create(path, temporary, wanted, arguments)
        return {}

    def _create(
        self, path: Path, temporary: Path, image_format: str, arguments: Mapping[str, object]
    ) -> None:
        owner, size = _owner_of(str(arguments["base"])), str(arguments["size"])
        with Folder(path.parent) as folder:
            if folder.look(path.name) is not None:
                raise HostRefused("file-exists", f"{path} exists, and is not overwritten")
            descriptor = folder.create(temporary.name)
            try:
                must_have_room(path, descriptor, int(size), "a copy of the disk")
                self.qemu_img(
                    *("create", "-q", "-f", image_format, "-o", "preallocation=falloc"),
                    *("--", name_of(descriptor), size),
                    descriptors=(descriptor,),
                )
                if owner is not None:
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
            except BaseException:
                folder.remove(temporary.name)
                raise
            finally:
                os.close(descriptor)


def _owner_of(base: str) -> os.stat_result | None:
    """Whom a copy belongs to: QEMU's user can open it as it can the disk's image."""
    if not base.startswith("/"):  # an image that another program serves has none here
        return None
    descriptor = open_file(Path(base))
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _keep(path: Path, temporary: Path) -> Mapping[str, object]:
    with Folder(path.parent) as folder:
        descriptor = folder.open(temporary.name)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise HostRefused("file-differs", f"{temporary} is no file that was made here")
            if is_locked(name_of(descriptor)):
                raise HostRefused("image-in-use", f"another program has {temporary} open")
            os.fsync(descriptor)
            folder.link(descriptor, path.name)
        finally:
            os.close(descriptor)
        folder.remove(temporary.name)
        folder.sync()
    return {"size": found.st_size}
