"""The digest of a stream of machine state, made while QEMU writes it or from the page cache just after.

What was just written is in the kernel's page cache, so a stream of a usual guest is read there once the
guest runs again: nothing is read from the disk, and nothing at all is done in the pause.  A stream that
is too large for that is read behind its writer, in a thread, from where the cache would begin to lose
it; the thread works in C, without Python's lock, but for some microseconds in each mebibyte.
"""

from __future__ import annotations

import hashlib
import os

from backends.flush import Worker, available_bytes

__all__ = ["Digester", "cache_keeps_bytes"]

_AT_ONCE_BYTES = 1024 * 1024
_KEPT_SHARE = 4


def cache_keeps_bytes() -> int:
    """How much of a file that was just written is surely still in the page cache."""
    return available_bytes() // _KEPT_SHARE


class Digester(Worker):
    """Reads a file that only grows, behind its writer, once it is large.

    Args:
        descriptor: The file, open for reading; the caller's, and open until the end.
        begin_at_bytes: From which size on it is read before it is whole.
    """

    def __init__(self, descriptor: int, begin_at_bytes: int) -> None:
        self._descriptor = descriptor
        self._begin_at_bytes = begin_at_bytes
        self._made = hashlib.sha256()
        self._at = 0
        super().__init__("snapplan-digest", self._follow)

    def _follow(self) -> bool:
        try:
            if os.fstat(self._descriptor).st_size >= max(self._begin_at_bytes, 1):
                self._read(while_wanted=True)
        except OSError:
            return True  # `finish` meets it again, and says so
        return False

    def _read(self, *, while_wanted: bool) -> None:
        while not (while_wanted and self.stopped):
            block = os.pread(self._descriptor, _AT_ONCE_BYTES, self._at)
            if not block:
                return
            self._made.update(block)
            self._at += len(block)

    def finish(self) -> str:
        """Read the rest of the file, which is whole now; SHA-256 of all of it, in hexadecimal.

        Raises:
            OSError: It cannot be read.
        """
        self.end()
        self._read(while_wanted=False)
        return self._made.hexdigest()
