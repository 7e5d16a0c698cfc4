"""What is known of a restore: a VM that `load --run` started, or disks that `load --offline` made.

A snapshot with external parts goes back on new files: overlays on its frozen images, copies of images.
Each holds what its guest writes, and nothing in QEMU says whose it is.  So the files are recorded before
the first of them is made, and stay recorded until they are the VM's own disks (promoted), or gone.
"""

from __future__ import annotations

import json
from enum import StrEnum
from functools import cache

from attrs import frozen
from cattrs import Converter

from planner.host.processes import Process
from planner.model.file_format import FileFormat
from planner.model.strict import strict_converter, write_with_hyphens

__all__ = [
    "Restore",
    "RestoreState",
    "RestoredFile",
    "read_restore",
    "restore_record_text",
]


class RestoreState(StrEnum):
    """How far a restore has come."""

    MAKING = "making"
    """Its files are being made: no guest has run on them."""
    READY = "ready"
    """Its files are made, and whoever asked for them starts QEMU himself (`load --offline`)."""
    STARTED = "started"
    """A QEMU was started on them: its guest may have written to them."""
    SPARE = "spare"
    """A QEMU waits on them for its machine state: no guest has run on them."""
    SET_ASIDE = "set-aside"
    """Its disk is the VM's disk; what is recorded are the overlays that were it before."""


@frozen(order=True)
class RestoredFile:
    """A file that a restore has made, or that was set aside for one.

    Attributes:
        disk: The disk's canonical name.
        file: Its path.
        format: Its format.
        base: For an overlay the frozen image that it lies on; for a copy the image that was copied.
        overlay: Whether it is an overlay, and no copy.
        instead_of: For an overlay: the one that the snapshot's manifest names; else empty.
        inode: The file's number; 0: it is not made yet.
        born_ns: When it was made, since the epoch; 0: its file system does not say.
    """

    disk: str
    file: str
    format: str
    base: str
    overlay: bool = True
    instead_of: str = ""
    inode: int = 0
    born_ns: int = 0


@frozen
class Restore:
    """A restore.

    Attributes:
        tag: The snapshot's.
        number: Which restore of it.
        state: How far it has come.
        files: What it has made, by disk; none where only images were reverted.
        saved_ns: When the snapshot was finished, since the epoch: another of its tag is another one.
        made_ns: When the restore began, by the host's wall clock, since the epoch.
        process: Its QEMU; None: none was started, or it cannot be told.
        socket: Where that listens; empty: none was started.
        owner: The program that it ends with, and whose files go then; None: it stays.
        template_ns: When the template that it was started from was finished; 0: from none.
        line: Of a spare: what tells its command line from others.
    """

    tag: str
    number: int
    state: RestoreState
    files: tuple[RestoredFile, ...]
    saved_ns: int = 0
    made_ns: int = 0
    process: Process | None = None
    socket: str = ""
    owner: Process | None = None
    template_ns: int = 0
    line: str = ""

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"{self.tag}.restored-{self.number}"


@cache
def _converter() -> Converter:
    converter = strict_converter()
    for kind in (RestoredFile, Process, Restore):
        seldom = ("owner", "template_ns", "line") if kind is Restore else ()
        write_with_hyphens(converter, kind, seldom=seldom)
    return converter


_FILES = FileFormat(
    name="snapplan-restore",
    version=1,
    kind=Restore,
    converter=_converter,
    code="restore-malformed",
    unfit="is no record",
    remedy="it is written by `snapplan load` only",
)


def restore_record_text(restore: Restore) -> str:
    """A record as its file has it."""
    return json.dumps(_FILES.to_plain(restore), indent=1) + "\n"


def read_restore(text: str, source: str) -> Restore:
    """Read a record's text.

    Raises:
        BadInput: It is none, or of another format version, or malformed (``restore-malformed``).
    """
    return _FILES.read(text, source)
