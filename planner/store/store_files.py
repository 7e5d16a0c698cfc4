"""Files of the store that cannot be read or written: one error for each, whatever is in them.

And how files are called that people name.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from planner.errors import BadInput, Problem
from planner.host.input import open_file

__all__ = ["file_name", "read_stored", "unreadable", "unwritable"]


_SLUG_CHARACTERS = 40


def file_name(name: str) -> str:
    """A file's name for what people name: their words, as far as they can be one, and a digest."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:_SLUG_CHARACTERS].lstrip(".")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{slug}-{digest}.json"


def read_stored(path: Path, code: str) -> str:
    """The text of a file of the store.

    Args:
        path: The file.
        code: Of the error where it is no text: what its format calls a file that is malformed.

    Raises:
        BadInput: It cannot be read (``store-unreadable``), or is no UTF-8 text.
    """
    try:
        with open_file(path) as file:
            return file.read().decode()
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        problem = Problem(code, str(path), "it is no UTF-8 text")
        raise BadInput.of(problem) from error


def unreadable(path: Path, error: OSError) -> BadInput:
    """The error for a file or folder of the store that cannot be read."""
    why = error.strerror or str(error)
    problem = Problem("store-unreadable", str(path), why)
    return BadInput(f"{path} cannot be read: {why}", problems=(problem,), code=problem.code)


def unwritable(path: Path, error: OSError) -> BadInput:
    """The error for a file or folder of the store that cannot be written or removed."""
    why = error.strerror or str(error)
    problem = Problem("store-unwritable", str(path), why, "choose another folder with --store")
    return BadInput(f"{path} cannot be written: {why}", problems=(problem,), code=problem.code)
