"""Writes back what the kernel holds of files, so that a flush in the guest's pause has little to do.

Best effort: a file that cannot be opened or flushed is left out, and nothing but time is lost.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

__all__ = ["Flusher", "flush"]

_EVERY_S = 0.02


def flush(paths: Sequence[str]) -> None:
    """Write back the contents of each file that is there; relative paths are QEMU's, not ours."""
    for path in paths:
        if not path.startswith("/"):
            continue
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            os.fdatasync(descriptor)
        except OSError:
            continue
        finally:
            os.close(descriptor)


class Flusher:
    """Flushes files again and again, in a thread of its own, until `end`.

    Args:
        paths: The files; they need not be there yet.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = tuple(paths)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="snapplan-flush", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._ended.wait(_EVERY_S):
            flush(self._paths)

    def stop(self) -> None:
        """Begin no further flush; one that is under way goes on."""
        self._ended.set()

    def end(self) -> None:
        """End it; returns when the last flush is done."""
        self.stop()
        self._thread.join()
