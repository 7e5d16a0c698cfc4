"""What can be asked of a kind of part before there is one: what it can be, its steps, how it is shown.

A request asks for parts, a resolution says of each how it is made, and at the end of a run the VM has to
show it.  The kinds are `planner.parts.make_internal`, `planner.parts.make_overlay`,
`planner.parts.make_stream` and `planner.parts.make_vmstate_image`; `planner.parts.kinds` lists them in
the order in which one transaction captures them.  What a part is once it is recorded,
`planner.parts.part` says.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from typing import ClassVar

from attrs import field, frozen

from planner.errors import Problem
from planner.model.facts import Disk, Facts, SnapshotInfo
from planner.model.image_file import FILTERS
from planner.model.operations import Operation
from planner.model.request import Request, Wish
from planner.parts.disk_part import BackingImage
from planner.parts.part import ManifestPart
from planner.program.program import Step, Undo
from planner.program.resolution import Resolution

__all__ = [
    "DiskCapture",
    "KeptFile",
    "Making",
    "NotShown",
    "Shown",
    "ShownPart",
    "backing_of",
]


@frozen
class DiskCapture:
    """What captures one disk in a transaction.

    Attributes:
        action: The transaction's action.
        covers: The operation that it is.
        undo: What takes it back.
    """

    action: dict[str, object] = field(hash=False)
    covers: Operation
    undo: Undo


@frozen
class KeptFile:
    """A file that a run has given its name.

    Attributes:
        size_bytes: Its length.
        sha256: Digest of its content; empty: none was made.
    """

    size_bytes: int
    sha256: str = ""


@frozen
class Shown:
    """What is there when the last step is done.

    Attributes:
        fresh: By disk, the snapshots of the tag that the VM shows now and did not show before.
        filenames: By disk, its image before the run.
        disks: By name, the disks as they are now; empty where no kind of part of the run asks for it.
        kept: The file that the run has given its name; None: none.
        in_own_node: What the machine state's own node held, just before it was taken out of QEMU.
        copies: Likewise, the copies of disks, by path.
    """

    fresh: Mapping[str, tuple[SnapshotInfo, ...]]
    filenames: Mapping[str, str]
    disks: Mapping[str, Disk]
    kept: KeptFile | None = None
    in_own_node: tuple[SnapshotInfo, ...] = ()
    copies: Mapping[str, KeptFile] = field(factory=dict)


class NotShown(Exception):  # never leaves `planner.save.confirm`
    """The VM does not show a part as it should be.

    Attributes:
        code: Stable identifier.
        message: In a sentence.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ShownPart(ABC):
    """One part of a finished snapshot, as the VM itself shows it."""

    plain_key: ClassVar[str]
    """Under which key of a finished run's JSON it stands."""

    disk: str
    """The disk's canonical name; empty: it is no disk's."""
    filename: str
    """The image that holds it, or its own file."""

    @property
    def state_bytes(self) -> int:
        """Bytes of machine state in it."""
        return 0

    @property
    def image_bytes(self) -> int:
        """How long the image is that was made for it and that QEMU has open no more; 0: none."""
        return 0

    @property
    def instant_ns(self) -> int | None:
        """The guest's clock in it; None: QEMU writes none down there."""
        return None

    @property
    def plain_id(self) -> str:
        """QEMU's id of it; empty: it has none."""
        return ""

    @property
    def more(self) -> str:
        """What a person is told of it after its file."""
        return ""

    @property
    def start_option(self) -> str:
        """How QEMU is to be started on the disk from now on; empty: as before."""
        return ""

    @property
    def start_file(self) -> str:
        """The image that it is started on then."""
        return self.filename

    @abstractmethod
    def recorded(self, disks: Mapping[str, Disk]) -> ManifestPart:
        """What the manifest has of it.

        Args:
            disks: By name, the disks just before the run.
        """

    @abstractmethod
    def to_plain(self) -> dict[str, object]:
        """What a program is shown of it."""


class Making(ABC):
    """How parts of one kind are made."""

    def can_be(self, disk: Disk) -> Iterator[Problem]:
        """Why a disk cannot have such a part at all; nothing where it can."""
        yield from ()

    def refusals(self, disk: Disk, wish: Wish, request: Request) -> Iterator[Problem]:
        """Why a disk cannot have such a part as it is asked for; nothing where it can."""
        yield from self.can_be(disk)

    def warnings(self, disk: Disk, facts: Facts) -> Iterator[str]:
        """What the reader should know of such a part of a disk, although it stops nothing."""
        yield from ()

    def new_file(self, wish: Wish) -> str | None:
        """The file that is to be made for it, as it is written in the request; None: none is."""
        return None

    def asked_for(self, wish: Wish) -> str:
        """The wish as a plan shows it."""
        raise NotImplementedError

    label: ClassVar[str] = ""
    """What a plan calls the disks that have such parts."""
    field: ClassVar[str] = ""
    """Under which name a resolution has such parts of disks; empty: they are no disks'."""

    def planned(self, tag: str, disk: Disk, wish: Wish, facts: Facts) -> object:
        """The part of a disk with every choice made, as a resolution has it."""
        raise NotImplementedError

    def state_words(self, resolution: Resolution) -> str:
        """Where the machine state goes; empty: into no part of this kind."""
        return ""

    @abstractmethod
    def disks(self, resolution: Resolution) -> tuple[str, ...]:
        """The disks that have such parts."""

    @abstractmethod
    def commands(self, resolution: Resolution) -> Iterator[str]:
        """What QEMU must have for it beside the program's own commands: to look, and to undo."""

    def files(self, resolution: Resolution) -> tuple[str, ...]:
        """The files that a run makes, under their last names."""
        return ()

    def prepared(self, resolution: Resolution) -> Iterator[Step]:
        """The steps before the capture: nothing of the guest's is touched yet."""
        yield from ()

    def captured(self, resolution: Resolution, disks: Collection[str]) -> Iterator[DiskCapture]:
        """What captures these disks in one transaction, as far as they have such parts."""
        yield from ()

    def finished(self, resolution: Resolution) -> Iterator[Step]:
        """The steps after the capture, while the guest goes on."""
        yield from ()

    def looks_at_chains(self, resolution: Resolution) -> bool:
        """Whether the VM has to be asked at the end what lies under its disks."""
        return False

    @abstractmethod
    def confirmed(self, resolution: Resolution, shown: Shown) -> Iterator[ShownPart]:
        """The parts, as the VM shows them.

        Raises:
            NotShown: One is missing, twice, or not as it was asked for.
        """


def backing_of(disk: Disk) -> tuple[BackingImage, ...] | None:
    """The images under a disk's own; None: a filter is among them, and hides what is below it."""
    if any(layer.driver in FILTERS for layer in disk.backing):
        return None
    return tuple(
        BackingImage(layer.filename, layer.driver, key_secret=layer.key_secret)
        for layer in disk.backing
    )
