"""Text files that a user names: a request, a plan, facts, a manifest.

Rules: a FIFO that nobody writes to, and a device, would be waited for without a word, maybe for ever, so
neither is opened by its name.  What a shell has opened (``-``, ``/dev/stdin``, ``<(command)``) is read
as it is.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

from planner.errors import BadInput, Problem
from planner.host.output import descriptor_of

__all__ = ["open_file", "read_bytes", "read_text_file", "text_of"]

_LIMIT_BYTES = 64 * 1024 * 1024


def read_text_file(path: str) -> str:
    """Read a text file.

    Raises:
        BadInput: It is not there, no file, no text, or too large (``file-unreadable``).
    """
    try:
        with open_file(path) as file:
            return text_of(file, path)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error


def open_file(path: str | Path) -> IO[bytes]:
    """Open a file to be read; nothing that could be waited for.

    Raises:
        OSError: It cannot be opened, or it is a folder, a FIFO or a device.
    """
    given = str(path)
    if given != "-" and descriptor_of(given) is not None:
        return Path(path).open("rb")
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if why := _not_a_file(os.fstat(opened).st_mode):
            raise OSError(0, why)
        return os.fdopen(opened, "rb")
    except BaseException:
        os.close(opened)
        raise


def read_bytes(path: Path) -> bytes:
    """All that a file holds; see `open_file`.

    Raises:
        OSError: It cannot be read.
    """
    with open_file(path) as file:
        return file.read()


def _not_a_file(mode: int) -> str:
    if stat.S_ISREG(mode):
        return ""
    if stat.S_ISDIR(mode):
        return "it is a folder"
    if stat.S_ISFIFO(mode):
        return "it is a FIFO (a named pipe), which is not waited for; /dev/stdin and <(…) are read"
    return "it is a device"


def text_of(file: IO[bytes], path: str) -> str:
    """What is left to be read of an open file, as text; see `read_text_file`."""
    try:
        raw = file.read(_LIMIT_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    if len(raw) > _LIMIT_BYTES:
        raise _unreadable(path, f"it is larger than {_LIMIT_BYTES} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise _unreadable(path, "it is no UTF-8 text") from error


def _unreadable(path: str, why: str) -> BadInput:
    problem = Problem("file-unreadable", path, why)
    return BadInput(f"{path} cannot be read: {why}", problems=(problem,), code=problem.code)
