"""What a file was, so that it can be told later whether it is still the same."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from attrs import frozen

__all__ = ["NO_FILES", "UNSEEN", "FileRecord"]


@frozen(order=True)
class FileRecord:
    """What a file was when the snapshot was finished; all zero: nobody could look at it.

    What is evidence of another content and what only a hint, `planner.parts.file_checks` says.

    Attributes:
        device: The file system's device number.
        inode: The file's number in it.
        size_bytes: Its length.
        mtime_ns: When it was last written to, since the epoch.
        ctime_ns: When it or its owner, mode or names last changed, since the epoch.
        sha256: Digest of the content, in hexadecimal; empty: none was made.
    """

    device: int = 0
    inode: int = 0
    size_bytes: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    sha256: str = ""

    @property
    def known(self) -> bool:
        """Whether the file was looked at."""
        return self.inode != 0


UNSEEN = FileRecord()
"""Of a file that nobody could look at."""

NO_FILES: Mapping[str, FileRecord] = MappingProxyType({})
"""Where no file could be looked at."""
