"""What a snapshot was made ready with for instant restore: its template.

A template is files that are never written again: the guest's memory as files that QEMU maps, the state
of the devices alone, and for each disk the image that a clone's overlay lies on.  It is made once from
a finished snapshot, which stays what it is: without its template it loads as before.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, frozen

from planner.model.facts import QemuVersion
from planner.model.file_record import UNSEEN, FileRecord

__all__ = ["Template", "TemplateDisk", "TemplateFile", "TemplateMemory"]


@frozen
class TemplateFile:
    """A file that is never written again.

    Attributes:
        file: Its absolute path.
        record: What it was when the template was finished, with its digest.
    """

    file: str
    record: FileRecord = UNSEEN


@frozen
class TemplateMemory:
    """What one memory object of the machine holds; QEMU maps the file, a clone for itself alone.

    Attributes:
        id: The memory object's id: ``default-ram-id`` of the machine type, or what the user calls it.
            The stream of the devices' state knows the memory by it.
        size_bytes: How much memory it is.
        file: Absolute path, 0600; most of it may be a hole.
        record: What it was when the template was finished, with its digest.
    """

    id: str
    size_bytes: int
    file: str
    record: FileRecord = UNSEEN


@frozen
class TemplateDisk:
    """What a clone's overlay of a disk lies on.

    Attributes:
        disk: The disk's canonical name.
        file: The image; of an overlay the frozen base itself, of an internal snapshot a copy.
        format: QEMU's block driver for it.
        own: Whether it was made for the template and goes with it.
        record: What it was when the template was finished; a file of its own has a digest.
    """

    disk: str
    file: str
    format: str
    own: bool = False
    record: FileRecord = UNSEEN


@frozen
class Template:
    """A snapshot made ready for instant restore.

    Attributes:
        memory: The machine's memory, a file for each memory object, in order of id.
        state: The devices' state without that memory (migration capability ``x-ignore-shared``).
        qemu: The QEMU that wrote it.
        words: The command line that it was made with, as words with their places (``{disk:NAME}``).
        disks: What the disks of a clone lie on, in order of name.
        made_ns: Host's wall clock when it was finished, since the epoch.
    """

    memory: tuple[TemplateMemory, ...]
    state: TemplateFile
    qemu: QemuVersion
    words: tuple[str, ...]
    disks: tuple[TemplateDisk, ...] = ()
    made_ns: int = 0

    @property
    def memory_bytes(self) -> int:
        """How much memory the machine has, all objects together."""
        return sum(each.size_bytes for each in self.memory)

    @property
    def own_files(self) -> tuple[str, ...]:
        """The files that were made for it and go with it, the state's first: no clone without it."""
        copies = (each.file for each in self.disks if each.own)
        return (self.state.file, *(each.file for each in self.memory), *copies)

    @property
    def records(self) -> tuple[tuple[str, FileRecord], ...]:
        """Every file that a clone needs, with what it was."""
        return (
            *((each.file, each.record) for each in self.memory),
            (self.state.file, self.state.record),
            *((each.file, each.record) for each in self.disks),
        )

    def with_files(self, today: Callable[[str], str]) -> Template:
        """The same, where its files have other names now."""
        return evolve(
            self,
            memory=tuple(evolve(each, file=today(each.file)) for each in self.memory),
            state=evolve(self.state, file=today(self.state.file)),
            disks=tuple(evolve(each, file=today(each.file)) for each in self.disks),
        )
