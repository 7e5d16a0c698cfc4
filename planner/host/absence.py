"""Whether a file is gone, as far as that can be proved.

A file that is not there may lie on a file system that is not mounted.  Then its folder is not there
either, or it is the empty folder on which that would be mounted.  So a file is gone where its folder
holds something else.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["whether_there"]


def whether_there(path: str) -> bool | None:
    """Whether something of this name is there; None: nobody can tell."""
    file = Path(path)
    try:
        file.stat()
    except FileNotFoundError:
        if file.is_symlink():  # where it leads to may not be mounted
            return None
        return False if _holds_something(file.parent) else None
    except (OSError, ValueError):
        return None
    return True


def _holds_something(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return False
