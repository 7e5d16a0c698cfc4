"""Whose records a folder of the store holds: a VM is known by its images and process, besides its name.

Two VMs may have one name, or one UUID: a command line was copied, or a snapshot was restored beside the
VM that it was taken of.  So a folder says which images its VM has (`vm.json`), and another VM of that
name gets a folder of its own.  A folder of before says nothing; then its manifests and journals do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import IntEnum
from functools import cache
from pathlib import Path

import cattrs
from attrs import frozen

from planner.host.birth import born_ns
from planner.host.files import write_whole
from planner.host.processes import Process, lives
from planner.model.facts import Facts
from planner.model.strict import strict_converter, structured, write_with_hyphens
from planner.model.text import json_object

__all__ = ["Claim", "ImageFile", "Kinship", "image_files", "kinship", "read_claim", "write_claim"]

FORMAT = "snapplan-vm"
FORMAT_VERSION = 1
_FILE = "vm.json"


@frozen
class ImageFile:
    """An image that a guest writes to.

    Attributes:
        path: As QEMU names it.
        device: Of its file system; 0: the file is not to be seen from here.
        inode: Its number in it: a moved image keeps it, and a new one may be given it.
        born_ns: When it was made; 0: not known, so that the number alone proves nothing.
    """

    path: str
    device: int = 0
    inode: int = 0
    born_ns: int = 0

    def is_same(self, other: ImageFile) -> bool:
        """Whether two records mean one image: one path, or one file."""
        mine = (self.device, self.inode, self.born_ns)
        return self.path == other.path or (
            bool(self.born_ns) and mine == (other.device, other.inode, other.born_ns)
        )


@frozen
class Claim:
    """Whose a folder is.

    Attributes:
        uuid: The VM's UUID, or empty.
        name: Its name, or empty.
        address: Where it was last met.
        images: Those it wrote to then.
        process: The QEMU that it was then.
    """

    uuid: str
    name: str
    address: str
    images: tuple[ImageFile, ...] = ()
    process: Process | None = None


class Kinship(IntEnum):
    """What a folder is to a VM; the highest is taken."""

    STRANGER = 0
    """Another VM's: its images are there, and they are others."""
    MOVED = 1
    """Its images are not there any more, so that they may have become these."""
    UNUSED = 2
    """Nobody's yet."""
    RELATED = 3
    """Its images lie under these, or it recorded these, and no other QEMU works with them now."""
    IMAGES = 4
    """Its images are these."""
    PROCESS = 5
    """It is this very QEMU."""


def image_files(facts: Facts, *, here: bool) -> tuple[ImageFile, ...]:
    """The images that a VM writes to.

    Args:
        facts: The VM.
        here: Whether its files are this machine's.
    """
    names = [disk.filename for disk in facts.disks if disk.filename and not disk.read_only]
    return tuple(_image_file(name) if here else ImageFile(name) for name in sorted(set(names)))


def _image_file(name: str) -> ImageFile:
    try:
        stat = Path(name).stat()
    except (OSError, ValueError):
        return ImageFile(name)
    return ImageFile(name, stat.st_dev, stat.st_ino, born_ns(name))


def kinship(
    own: Claim,
    below: Iterable[str],
    claim: Claim | None,
    recorded: Callable[[], Iterable[str]],
    *,
    here: bool,
) -> Kinship:
    """What a folder is to a VM.

    Args:
        own: What the VM would claim.
        below: Images under its own.
        claim: What the folder says; None: it says nothing.
        recorded: Reads which image files its manifests and journals name.
        here: Whether the VM's files are this machine's.
    """
    if claim is not None:
        if own.process is not None and own.process == claim.process:
            return Kinship.PROCESS
        if any(mine.is_same(its) for mine in own.images for its in claim.images):
            return Kinship.IMAGES
    files = {*recorded(), *(() if claim is None else (image.path for image in claim.images))}
    busy = claim is not None and claim.process is not None and lives(claim.process) is True
    if not files:
        return Kinship.STRANGER if busy and own.images else Kinship.UNUSED
    if not own.images or not files.isdisjoint({*below, *(image.path for image in own.images)}):
        return Kinship.STRANGER if busy and own.process is not None else Kinship.RELATED
    gone = here and not any(Path(file).exists() for file in files)
    return Kinship.MOVED if gone and not busy else Kinship.STRANGER


@cache  # most commands need few of these, and each takes its time to make
def _converter() -> cattrs.Converter:
    converter = strict_converter()
    for kind in (ImageFile, Process, Claim):
        write_with_hyphens(converter, kind)
    return converter


def read_claim(folder: Path) -> Claim | None:
    """What a folder says of its VM; None: nothing that can be read."""
    with suppress(OSError, ValueError):
        value = json_object((folder / _FILE).read_text(encoding="utf-8")) or {}
        if value.pop("format", None) == FORMAT:
            value.pop("format-version", None)
            return structured(_converter(), value, Claim)
    return None


def write_claim(folder: Path, claim: Claim) -> None:
    """Say whose a folder is; nothing is written where it says so already.

    Raises:
        OSError: It cannot be written.
    """
    if read_claim(folder) == claim:
        return
    body = {"format": FORMAT, "format-version": FORMAT_VERSION, **_converter().unstructure(claim)}
    write_whole(folder / _FILE, json.dumps(body, indent=1) + "\n")
