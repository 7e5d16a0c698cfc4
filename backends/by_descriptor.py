"""Files by descriptor, so that no step follows a name that somebody else can change meanwhile.

snapplan often runs as root on folders that QEMU's own user may write to.  Whoever may write to a folder
may swap any name in it between two system calls.  So a folder is opened once, and everything in it is
done relative to that descriptor (``openat`` and its kin): names are never followed where they are
symbolic links, a file that is open is named by what is open (``/proc/self/fd``), also to qemu-img, and
what is removed is only ever a name in that one folder.

Linux's own rule for links (`fs.protected_symlinks`) is kept for the way to a file, too: a symbolic link
is followed where it is root's, ours, or of the same owner as what it leads to.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Folder", "name_of", "open_file", "same_file"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LINKS_LIMIT = 40  # the kernel's own, of `path_resolution(7)`


def name_of(descriptor: int) -> str:
    """A path that means the open file, whatever its name means by now; for us and for our children.

    A child must be given the descriptor (`subprocess`'s ``pass_fds``).
    """
    return f"/proc/self/fd/{descriptor}"


def same_file(one: os.stat_result, other: os.stat_result | None) -> bool:
    """Whether both are the same file: device and inode."""
    return other is not None and (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


class Folder:
    """A folder, open: the names in it, and no other, are made, looked at and removed.

    Args:
        path: The folder.

    Raises:
        OSError: It cannot be opened, or a link on the way to it is not to be trusted.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = _open(path, _FOLDER)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it; what was opened in it stays open."""
        os.close(self._descriptor)

    def create(self, name: str) -> int:
        """Make a new file of mode 0600, open for reading and writing; never over anything."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(name, flags, 0o600, dir_fd=self._descriptor)

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a regular file; a symbolic link, a FIFO or a device is refused, and not waited for."""
        descriptor = os.open(
            name,
            flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK,
            dir_fd=self._descriptor,
        )
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", name)

    def link(self, descriptor: int, name: str) -> None:
        """Give an open file a name; never over anything.  Its other names do not matter."""
        os.link(name_of(descriptor), name, dst_dir_fd=self._descriptor, follow_symlinks=True)

    def look(self, name: str) -> os.stat_result | None:
        """What a name means, not following it; None: nothing."""
        try:
            return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> bool:
        """Take a name away, if it is there, and say whether it was; what it leads to stays."""
        try:
            os.unlink(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            return False
        return True

    def sync(self) -> None:
        """Make names that were made or removed last."""
        os.fsync(self._descriptor)


def open_file(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file or a block device by its path.

    Links on the way are followed under the rule of this module's head; nothing but a regular file or a
    block device is opened, so that no FIFO is waited for and no device is woken.

    Raises:
        OSError: It is not there, is something else, or a link on the way is not to be trusted.
    """
    at = _open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        mode = os.fstat(at).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise OSError(errno.EINVAL, "it is no regular file and no block device", str(path))
        return os.open(name_of(at), flags | os.O_CLOEXEC)
    finally:
        os.close(at)


def _open(path: Path, flags: int) -> int:
    """Open what a path means, each link on the way looked at before it is followed."""
    whole = path if path.is_absolute() else Path.cwd() / path  # `..` is left for the walk
    wanted = list(whole.parts[1:])
    at = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    opened = [at]
    links = 0
    try:
        while wanted:
            name = wanted.pop(0)
            if name == "..":
                at = os.open("..", os.O_PATH | os.O_CLOEXEC, dir_fd=at)
                opened.append(at)
                continue
            found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            opened.append(found)
            if not stat.S_ISLNK(os.fstat(found).st_mode):
                at = found
                continue
            links += 1
            if links > _LINKS_LIMIT:
                raise OSError(errno.ELOOP, "too many symbolic links", str(path))
            target = Path(os.readlink("", dir_fd=found))
            _check_link(found, name, at, path)
            if target.is_absolute():
                at = opened[0]
            wanted = [part for part in target.parts if part != "/"] + wanted
        # A file that is only looked at stays as it is; else it is opened anew by what it is.
        return os.dup(at) if flags & os.O_PATH else os.open(name_of(at), flags)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _check_link(link: int, name: str, folder: int, path: Path) -> None:
    owner = os.fstat(link).st_uid
    if owner in {0, os.geteuid()}:
        return
    leads_to = os.stat(name, dir_fd=folder)
    if leads_to.st_uid != owner:
        words = f"{name} is a symbolic link of another user to what is not theirs"
        raise OSError(errno.ELOOP, words, str(path))
