"""How machine state is written to a file of its own: `planner.parts.stream`, before it is there.

The steps of the capture are each design's own (`planner.compile.lowering.stream`): they are what the
designs differ in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from attrs import frozen

from planner.model.facts import Disk
from planner.model.file_record import FileRecord
from planner.parts.making import KeptFile, Making, NotShown, Shown, ShownPart
from planner.parts.stream import MAPPED, PLAIN, StateStream
from planner.program.resolution import Resolution

__all__ = ["MakeStream", "ShownStream"]


@frozen
class ShownStream(ShownPart):
    """Machine state in a file of its own.

    Attributes:
        disk: Empty.
        filename: The file.
        kept: What it is, as the host has told.
        mapped: Whether it is a `mapped-ram` file.
    """

    plain_key: ClassVar[str] = "stream"

    disk: str
    filename: str
    kept: KeptFile
    mapped: bool

    @property
    def state_bytes(self) -> int:
        """The file's length."""
        return self.kept.size_bytes

    def recorded(self, disks: Mapping[str, Disk]) -> StateStream:
        """What the manifest has of it."""
        return StateStream(
            file=self.filename,
            format=MAPPED if self.mapped else PLAIN,
            vm_state_size_bytes=self.kept.size_bytes,
            record=FileRecord(sha256=self.kept.sha256),
        )

    def to_plain(self) -> dict[str, object]:
        """What a program is shown of it."""
        return {
            "file": self.filename,
            "size": self.kept.size_bytes,
            "mapped-ram": self.mapped,
        }


class MakeStream(Making):
    """Machine state in a file."""

    def disks(self, resolution: Resolution) -> tuple[str, ...]:
        """None."""
        return ()

    def commands(self, resolution: Resolution) -> Iterator[str]:
        """To look, and to undo."""
        if resolution.stream is not None:
            yield from ("query-migrate", "migrate_cancel")

    def files(self, resolution: Resolution) -> tuple[str, ...]:
        """The file."""
        return () if resolution.stream is None else (resolution.stream.path,)

    def confirmed(self, resolution: Resolution, shown: Shown) -> Iterator[ShownStream]:
        """The file has its name, and is not empty."""
        stream = resolution.stream
        if stream is None:
            return
        if shown.kept is None or not shown.kept.size_bytes:
            raise NotShown("stream-empty", "QEMU wrote no machine state to the file")
        yield ShownStream("", stream.path, shown.kept, stream.mapped)
