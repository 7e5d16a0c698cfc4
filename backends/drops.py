"""Files that a restore made, and that nobody needs any more: looked at first, and removed one by one.

A name is no proof: what is removed must be the file that was recorded, lie over the image that was
recorded, be open nowhere, and have nothing lying over it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import frozen

from backends.by_descriptor import Folder, open_file
from backends.locks import is_open
from backends.neighbours import lying_over
from planner.host.birth import born_ns
from planner.host.processes import open_files
from planner.run.ports import HostRefused

__all__ = ["DROPS", "Drops"]

_Told = Mapping[str, object]

DROPS = ("look-before-drop", "drop-restored")


@frozen
class Drops:
    """The instructions of `backends.host.QemuHost` about files of a restore.

    - ``look-before-drop`` (path, base, overlay, inode, born-ns): refuses what must not be removed.
    - ``drop-restored`` (the same): refuses it just so, and removes the file.  One that is gone is no
      error; what was left of one that was being made goes too.

    ``overlay`` says whether it is one over the base; ``inode`` and ``born-ns`` which file it is, 0 where
    that is not known.

    Attributes:
        open_overlay: Opens an overlay; raises where it does not lie over this base.
    """

    open_overlay: Callable[[Path, str], int]

    def do(self, instruction: str, path: Path, base: str, arguments: _Told) -> _Told:
        """Do one of them."""
        if os.path.lexists(path):
            self._look(path, base, arguments)
        if instruction == "look-before-drop":
            return {}
        with Folder(path.parent) as folder:
            removed = folder.remove(f".{path.name}.snapplan")
            removed = folder.remove(path.name) or removed
            folder.sync()
        return {"removed": removed}

    def _look(self, path: Path, base: str, arguments: _Told) -> None:
        _must_be_removable(path)
        descriptor = self.open_overlay(path, base) if arguments.get("overlay") else open_file(path)
        try:
            _must_be_that(path, os.fstat(descriptor), arguments)
            for pid in open_files([str(path)]).users:
                raise HostRefused("image-in-use", f"{path} is open in process {pid}")
            if is_open(descriptor):
                raise HostRefused("image-in-use", f"{path} is open in a QEMU")
        finally:
            os.close(descriptor)
        for other, below in lying_over(path, Path(base)):
            if below == path:
                raise HostRefused("part-needed", f"{other} lies over {path}")


def _must_be_that(path: Path, found: os.stat_result, arguments: _Told) -> None:
    """It is the file that was recorded, and no other one of its name."""
    inode, born = arguments.get("inode"), arguments.get("born-ns")
    other = bool(inode) and inode != found.st_ino
    other = other or (bool(born) and born != born_ns(str(path)))
    if other or not stat.S_ISREG(found.st_mode):
        raise HostRefused("file-differs", f"{path} is no longer the file that was recorded")


def _must_be_removable(path: Path) -> None:
    folder, found = path.parent.stat(), path.lstat()
    foreign = os.geteuid() not in (0, folder.st_uid, found.st_uid)
    sticky = bool(folder.st_mode & stat.S_ISVTX)
    if not os.access(path.parent, os.W_OK | os.X_OK) or (sticky and foreign):
        raise HostRefused("file-unwritable", f"nothing can be removed from {path.parent}")
