"""Text files that a user names: a request, a plan, facts, a manifest."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

from planner.errors import BadInput, Problem

__all__ = ["read_text_file", "text_of"]

_LIMIT_BYTES = 64 * 1024 * 1024


def read_text_file(path: str) -> str:
    """Read a text file.

    Raises:
        BadInput: It is not there, no text, or too large (``file-unreadable``).
    """
    try:
        with Path(path).open("rb") as file:
            if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
                raise IsADirectoryError(0, "it is a folder")
            return text_of(file, path)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error


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
