"""Do something again whenever one of some files has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from planner.cli import waiting_line

__all__ = ["again_when_changed"]

_EVERY_S = 0.2


def again_when_changed(paths: Sequence[str], work: Callable[[], None]) -> None:
    """Do the work now, and whenever a file was written, replaced, made or removed; until Ctrl-C.

    Raises:
        KeyboardInterrupt: That is how it ends.
    """
    while True:
        seen = [_look(path) for path in paths]
        work()
        with waiting_line.held():
            while [_look(path) for path in paths] == seen:
                time.sleep(_EVERY_S)


def _look(path: str) -> tuple[int, ...]:
    try:
        found = Path(path).stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_size, found.st_mtime_ns)
