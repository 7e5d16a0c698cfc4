"""Who we are, and what we may do with files, folders and sockets.  Looks, and tries nothing."""

from __future__ import annotations

import os
import platform
import pwd
import stat
from pathlib import Path

from attrs import frozen

__all__ = ["Rights", "free_bytes", "rights_of", "system_words", "user_words"]

_KINDS = (
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISDIR, "folder"),
    (stat.S_ISREG, "file"),
    (stat.S_ISBLK, "block device"),
)


@frozen
class Rights:
    """What may be done at a path.

    Attributes:
        path: The path.
        kind: ``socket``, ``folder``, ``file``, ``block device`` or ``other``; empty: nothing is there,
            or a folder on the way may not be entered.
        owner: Whose it is.
        mode: Its permissions.
        readable: Whether we may read it.
        writable: Whether we may write to it; of a folder, make files in it.
    """

    path: str
    kind: str = ""
    owner: str = ""
    mode: int = 0
    readable: bool = False
    writable: bool = False

    @property
    def words(self) -> str:
        """Kind, owner and permissions."""
        return f"{self.kind} of {self.owner}, mode {self.mode:04o}"


def rights_of(path: str) -> Rights:
    """What we may do at a path."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return Rights(path)
    kind = next((word for is_kind, word in _KINDS if is_kind(found.st_mode)), "other")
    needed = os.W_OK | os.X_OK if kind == "folder" else os.W_OK
    return Rights(
        path,
        kind,
        _name(found.st_uid),
        stat.S_IMODE(found.st_mode),
        os.access(path, os.R_OK),
        os.access(path, needed),
    )


def free_bytes(path: str) -> int | None:
    """What a user may still write to the file system of a path, in bytes; None: it cannot be seen."""
    try:
        room = os.statvfs(path)
    except (OSError, ValueError):
        return None
    return room.f_bavail * room.f_frsize


def user_words() -> str:
    """Who we are."""
    return f"{_name(os.geteuid())} (uid {os.geteuid()}, groups {_groups()})"


def system_words() -> str:
    """The kernel and the machine; not the host's name."""
    return f"{platform.system()} {platform.release()} {platform.machine()}"


def _groups() -> str:
    return ",".join(map(str, sorted({os.getegid(), *os.getgroups()})))


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
