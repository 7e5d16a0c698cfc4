"""A journal as a file: mode 0600, appended to, on the disk when that is said.

Rules: a line that cannot be written whole is taken back, so that what stands in the file is whole as
long as this process lives; a journal is there with its whole header, or not at all.
"""

from __future__ import annotations

import os
from pathlib import Path

from planner.host.files import make_folder, remove_file, write_whole
from planner.run.ports import JournalFailed

__all__ = ["JournalFile"]


class JournalFile:
    """A `planner.run.ports.JournalStore` on a file; see `create` and `reopen`."""

    def __init__(self, path: Path, descriptor: int, size_bytes: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._size_bytes = size_bytes

    @classmethod
    def create(cls, path: Path, header: str) -> JournalFile:
        """Begin a journal with its header; on return both last.

        Raises:
            JournalFailed: It cannot be made; nothing is left of it.
        """
        try:
            make_folder(path.parent)
            write_whole(path, header)
        except OSError as error:
            raise _failed(path, error) from error
        return cls.reopen(path, len(header.encode()))

    @classmethod
    def reopen(cls, path: Path, size_bytes: int) -> JournalFile:
        """Go on with a journal after its last whole line; what stands behind that is cut off.

        Raises:
            JournalFailed: It cannot be written.
        """
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _failed(path, error) from error
        made = cls(path, descriptor, size_bytes)
        try:
            os.ftruncate(descriptor, size_bytes)
            os.fsync(descriptor)
        except OSError as error:
            made.close()
            raise _failed(path, error) from error
        return made

    def append(self, line: str, *, lasting: bool) -> None:
        """Append a line; see `planner.run.ports.JournalStore.append`."""
        raw = line.encode()
        try:
            written = 0
            while written < len(raw):
                written += os.pwrite(self._descriptor, raw[written:], self._size_bytes + written)
            if lasting:
                os.fsync(self._descriptor)
        except OSError as error:
            self._take_back()
            raise _failed(self.path, error) from error
        self._size_bytes += len(raw)

    def _take_back(self) -> None:
        try:
            os.ftruncate(self._descriptor, self._size_bytes)
        except OSError:
            return  # a torn last line is no record

    def close(self) -> None:
        """Close the file; it stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def remove(self) -> None:
        """Close the file and remove it for good.

        Raises:
            JournalFailed: It cannot be removed.
        """
        self.close()
        try:
            remove_file(self.path)
        except OSError as error:
            raise _failed(self.path, error) from error


def _failed(path: Path, error: Exception) -> JournalFailed:
    why = getattr(error, "strerror", None) or str(error)
    return JournalFailed(why if why.startswith(str(path)) else f"{path}: {why}")
