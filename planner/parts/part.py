"""What can be asked of any part of a snapshot; each kind of part answers in a file of its own.

The kinds are `planner.parts.internal`, `planner.parts.overlay`, `planner.parts.stream` and
`planner.parts.vmstate_image`; the registry
`planner.parts.kinds` names them.  Whoever works with a snapshot asks its parts, and does not look of
which kind they are.  An answer that most kinds share stands here, and a kind says where it differs.
Pure: what a part says depends on what it is given alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import ClassVar, Protocol, Self

from attrs import evolve, frozen

from planner.errors import Problem
from planner.model.facts import Disk, SnapshotInfo
from planner.model.file_record import UNSEEN, FileRecord
from planner.model.image import Image
from planner.parts.deletions import Deletion, DeletionOrigin, Overlays
from planner.parts.part_image import ImagesByDisk
from planner.parts.recorded_files import FoundFile, RecordedFile

__all__ = ["LookAtFile", "ManifestPart", "Seen"]

_Mark = tuple[str, str, int]


class LookAtFile(Protocol):
    """Looks at a file."""

    def __call__(self, file: str, was: FileRecord, *, content: bool) -> FileRecord:
        """What a file is now.

        Args:
            file: Its path.
            was: What is recorded of it.
            content: Whether its content may be read for a digest.
        """
        ...


@frozen
class Seen:
    """What there is now, as far as it was looked at.

    Attributes:
        images: By disk, its images by file.
        sizes: Bytes of each file that is a part alone; None for one that is not there; None as a whole
            where nobody could look.
    """

    images: ImagesByDisk
    sizes: Mapping[str, int | None] | None = None


@frozen
class ManifestPart(ABC):
    """One part, as it is recorded.

    Attributes:
        disk: The disk's canonical name; empty: it is no disk's.
        file: The image that holds it, or its own file.
        format: QEMU's block driver of that, or of what is in it.
        record: What the file was; unknown where the guest goes on writing to it.
    """

    kind: ClassVar[str]
    """Its kind as manifests say it."""
    external: ClassVar[bool] = True
    """Whether it has a file of its own; else it is inside an image that the guest goes on writing to."""

    read_by_load: ClassVar[bool] = False
    """Whether `snapshot-load` goes back to it, in a VM that runs too."""

    disk: str = ""
    file: str = ""
    format: str = ""
    record: FileRecord = UNSEEN

    def __lt__(self, other: ManifestPart) -> bool:
        return (self.kind, self.disk, self.file) < (other.kind, other.disk, other.file)

    # What it is.

    @property
    def subject(self) -> str:
        """What messages call it."""
        return self.disk or self.file

    @property
    def holds_state(self) -> bool:
        """Whether it holds the machine state."""
        return False

    @property
    def state_bytes(self) -> int:
        """Bytes of machine state in it."""
        return 0

    @property
    def instant_ns(self) -> int | None:
        """The guest's clock (vm-clock) in it; None: QEMU writes none down there."""
        return None

    @property
    def words(self) -> str:
        """Where it is, as a person is shown it."""
        return f"{self.kind} {self.file}"

    @property
    def plain_id(self) -> str:
        """QEMU's id of it; empty: it has none."""
        return ""

    # Its files.

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that it names."""
        return (self.file,) if self.file else ()

    @property
    def images(self) -> tuple[tuple[str, str], ...]:
        """Its images, each with its format, the one that holds it first."""
        return ()

    @property
    def own_file(self) -> str:
        """A file that is this part and nothing else: a delete removes it; empty: there is none."""
        return ""

    @property
    def frozen_file(self) -> str:
        """An image that nobody may write to from now on, and that a VM could run on; empty: none."""
        return ""

    @property
    def needed_unchanged(self) -> Iterator[str]:
        """The images that must stay as they are for it."""
        yield from ()

    @property
    def recorded_files(self) -> Iterator[RecordedFile]:
        """The files of it that must be what they were."""
        yield from ()

    @abstractmethod
    def renewed(self, look: LookAtFile) -> Self:
        """The part with what its files are now."""

    def with_files(self, today: Callable[[str], str]) -> Self:
        """The part with its files as they are called today."""
        return evolve(self, file=today(self.file))

    # Whether it is there, and what was saved.

    @abstractmethod
    def problems(self, tag: str, seen: Seen) -> Iterator[Problem]:
        """What speaks against its being what was saved (online and offline)."""

    def header_problems(
        self, images: ImagesByDisk, one_file: Callable[[str, str], bool]
    ) -> Iterator[Problem]:
        """What its image's header says otherwise than was recorded.

        Args:
            images: As qemu-img sees them.
            one_file: Whether two names may mean one file.
        """
        yield from ()

    @abstractmethod
    def is_there(
        self, tag: str, images: ImagesByDisk, there: Mapping[str, bool | None]
    ) -> bool | None:
        """Whether it is there, whatever it holds; None: it cannot be told.

        Args:
            tag: The snapshot's.
            images: Where they could be looked at.
            there: Of each file of a manifest, whether it is there; None: nobody can tell.
        """

    @property
    def mark(self) -> _Mark | None:
        """File, id and vm-clock of the snapshot in an image that it is; None: it is none."""
        return None

    def below(self, tag: str, images: Mapping[str, Image | None]) -> SnapshotInfo | None:
        """The snapshot that it is, in an image under an overlay; None: none, or not there."""
        return None

    def is_missing(
        self, marks: Collection[_Mark], unseen: Collection[str], lost: Collection[str]
    ) -> bool:
        """Whether it is known not to be there.

        Args:
            marks: Of all the snapshots that the VM's images hold.
            unseen: Images that nobody could look into.
            lost: Files that are known not to be there.
        """
        return self.file in lost

    def taken_by(
        self, tag: str, disk: Disk | None, replaced: Collection[tuple[str, str]]
    ) -> bool | None:
        """Whether it stands in the way of a new snapshot of its tag; None: if its file is there."""
        return None

    # Deleting it.

    def needed_by(self, theirs: ManifestPart, tag: str) -> Iterator[Problem]:
        """Why another snapshot's part needs it, or what a delete of it would change.

        Args:
            theirs: The other snapshot's part.
            tag: The other snapshot's tag.
        """
        yield from ()

    def deleted_with(self, overlays: Overlays | None) -> bool:
        """Whether a delete touches it; else only the record of it goes."""
        return True

    @property
    def merge_job(self) -> str:
        """Id of the block job of an earlier delete that may still be at work; empty: there is none."""
        return ""

    @abstractmethod
    def delete_problems(self, origin: DeletionOrigin) -> Iterator[Problem]:
        """Why it cannot be deleted safely."""

    @abstractmethod
    def deletion(self, origin: DeletionOrigin) -> Deletion | None:
        """How it is deleted, when `delete_problems` finds nothing; None: it is gone already."""

    def removal_problem(self, found: FoundFile, begins: bytes) -> Problem | None:
        """Why its own file must not be removed: it is not provably the one that was saved.

        Args:
            found: What has the file's name now.
            begins: Its first bytes.
        """
        return None

    # Going back to it.

    @abstractmethod
    def load_problems(self, tag: str, disk: Disk | None, images: ImagesByDisk) -> Iterator[Problem]:
        """Why a running VM cannot go back to it.

        Args:
            tag: The snapshot's.
            disk: Its disk in the VM; None: the VM has no such disk.
            images: What the VM's disks' images hold.
        """

    def revert_problems(self, tag: str, images: ImagesByDisk) -> Iterator[Problem]:
        """Why it cannot be gone back to by reverting image files that no VM has open."""
        yield from ()

    @abstractmethod
    def restore_problems(self, tag: str, seen: Seen) -> Iterator[Problem]:
        """Why a fresh QEMU cannot go back to it."""

    @property
    def restored_folder(self) -> str:
        """Where new files are made for a restore of it; empty: none are."""
        return ""

    def restored_problems(self, taken: Collection[str]) -> Iterator[Problem]:
        """What earlier restores made and that needs it as it is, among the paths that are taken."""
        yield from ()
