"""Files that a person asks for by name: a plan, facts.  What is there is respected, whatever it is.

    a regular file     replaced whole, at once; its mode and owner stay
    nothing            made, of mode 0600: a plan names what a guest holds
    a symbolic link    followed, by the kernel, so that its rules for links in shared folders hold
    a device, a FIFO   written to; never replaced, even by root
    a disk             left alone: whoever names one does not mean it
    a descriptor       (/dev/stdout, /dev/stderr, /dev/fd/N, /proc/self/fd/N) written to as it is open,
                       where it stands: a shell's ``>file`` and ``>>file`` behave as for any other output

Nothing is left behind by a write that fails.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from planner.errors import BadInput, Problem

__all__ = ["STDERR", "STDOUT", "descriptor_of", "write_output"]

STDOUT, STDERR = 1, 2

_READER_WITHIN_S = 10.0
_LOOK_EACH_S = 0.05
_NAMES = {"/dev/stdout": STDOUT, "/dev/stderr": STDERR}
_NUMBERED = re.compile(r"/(?:dev|proc/([a-z0-9-]+))/fd/([0-9]{1,9})")
_MOST_LINKS = 40
_PERMISSIONS = 0o777
_OWN_PERMISSIONS = 0o700
_PRIVATE = 0o600


def descriptor_of(path: str) -> int | None:
    """The open descriptor that a path means, or a link to it; None: it is the path of a file."""
    if path == "-":
        return STDOUT
    here = os.path.normpath(Path(path).absolute())
    for _ in range(_MOST_LINKS):
        numbered = _NUMBERED.fullmatch(here)
        if numbered and numbered[1] in (None, "self", "thread-self", str(os.getpid())):
            return int(numbered[2])
        if here in _NAMES:
            return _NAMES[here]
        try:
            here = os.path.normpath(Path(here).parent / Path(here).readlink())
        except OSError:
            return None
    return None


def write_output(path: str, text: str) -> None:
    """Write a text where somebody asked for it; see the module.

    Raises:
        BadInput: It cannot be written (``file-unwritable``); a regular file that was there before is
            as it was.
    """
    data = text.encode("utf-8", "surrogatepass")
    number = descriptor_of(path)
    try:
        if number is not None:
            _write_all(number, data)
        else:
            _write_to_file(path, data)
    except OSError as error:
        why = error.strerror or str(error)
        problem = Problem("file-unwritable", path, why)
        message = f"{path} cannot be written: {why}"
        raise BadInput(message, problems=(problem,), code=problem.code) from error


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _write_to_file(path: str, data: bytes) -> None:
    kind = _kind(path)
    if kind is None:
        _make(path, data)
    elif stat.S_ISREG(kind):
        with _opened(path, os.O_WRONLY) as there:
            _replace(path, there, data)
    elif stat.S_ISBLK(kind):
        raise OSError(0, "it is a disk (a block device), and what it holds would be lost")
    else:  # a folder and a socket cannot be opened for writing, and the system says so
        flags = os.O_WRONLY | os.O_NOCTTY
        with _opened_fifo(path) if stat.S_ISFIFO(kind) else _opened(path, flags) as there:
            if stat.S_ISREG(os.fstat(there).st_mode):
                raise OSError(0, "it was put in the place of another while it was opened")
            _write_all(there, data)


def _kind(path: str) -> int | None:
    """What is at a path or where its links lead; None: nothing."""
    try:
        return Path(path).stat().st_mode
    except FileNotFoundError:
        return None


@contextmanager
def _opened(path: str, flags: int, mode: int = _PRIVATE) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC, mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _opened_fifo(path: str) -> Iterator[int]:
    descriptor = _open_fifo(path)
    try:
        os.set_blocking(descriptor, True)
        yield descriptor
    finally:
        os.close(descriptor)


def _open_fifo(path: str) -> int:
    """Wait for a reader, as a shell does, but not for ever: nobody would know why nothing happens."""
    deadline = time.monotonic() + _READER_WITHIN_S
    while True:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > deadline:
                raise OSError(0, "no program reads from this FIFO") from error
        time.sleep(_LOOK_EACH_S)


def _make(path: str, data: bytes) -> None:
    """Make a file, through a link that leads nowhere too, and fill it at once."""
    with _opened(path, os.O_WRONLY | os.O_CREAT) as there:
        empty = not os.fstat(there).st_size  # else somebody else has just made it
        try:
            _replace(path, there, data)
        except OSError:
            if empty:
                _remove(path, there)
            raise


def _replace(path: str, there: int, data: bytes) -> None:
    """Put a file of this content in the place of an open one."""
    real = os.path.realpath(path)
    found = os.fstat(there)
    with _opened(str(Path(real).parent), os.O_PATH | os.O_DIRECTORY) as folder:
        name = Path(real).name
        _check_same(name, folder, found)
        temporary = f".{name[:100]}.{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        made = os.open(temporary, flags, _PRIVATE, dir_fd=folder)
        try:
            try:
                _write_all(made, data)
                _take_over(made, found)
                os.fsync(made)
            finally:
                os.close(made)
            _check_same(name, folder, found)
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(temporary, dir_fd=folder)
            raise


def _check_same(name: str, folder: int, found: os.stat_result) -> None:
    now = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if (now.st_dev, now.st_ino) != (found.st_dev, found.st_ino):
        raise OSError(0, "another file was put in its place just now")


def _take_over(made: int, found: os.stat_result) -> None:
    """The mode and the owner of the file that is replaced; no group gets what it had no right to."""
    mode = stat.S_IMODE(found.st_mode) & _PERMISSIONS
    ours = os.fstat(made)
    if (ours.st_uid, ours.st_gid) != (found.st_uid, found.st_gid):
        try:
            os.fchown(made, found.st_uid, found.st_gid)
        except PermissionError:
            mode &= _OWN_PERMISSIONS
    os.fchmod(made, mode)


def _remove(path: str, there: int) -> None:
    real = os.path.realpath(path)
    with _opened(str(Path(real).parent), os.O_PATH | os.O_DIRECTORY) as folder:
        _check_same(Path(real).name, folder, os.fstat(there))
        os.unlink(Path(real).name, dir_fd=folder)
