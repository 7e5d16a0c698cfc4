"""What can be done with a part where its VM does not run: said when it is planned, not found at a load.

A snapshot inside an image is loaded, deleted and repaired through its VM, or in the image's file.  The
second needs that the file be reached: by a name that means it here, as a file, and with the key where
it is encrypted.  A part for which that is not so is taken, since its VM can do all of it; but plan,
apply and manifest say so, each with a code.  Only what is gone with its VM is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from planner.errors import Problem
from planner.model.facts import Disk
from planner.model.image_place import Reach

__all__ = [
    "ELSEWHERE",
    "ENCRYPTED",
    "HEADER",
    "NO_FILE",
    "needs_vm",
    "reach_problems",
    "shared_problems",
]

ELSEWHERE = "image-elsewhere"
NO_FILE = "image-no-file"
ENCRYPTED = "image-encrypted"
HEADER = "image-header-differs"

_WITHOUT = "without its VM this part cannot be verified, loaded, deleted or repaired"


def needs_vm(disk: Disk) -> Iterator[Problem]:
    """Why a part of a disk cannot be worked on without its VM; nothing where it can."""
    if disk.place.reach is Reach.ELSEWHERE:
        yield Problem(
            ELSEWHERE,
            disk.name,
            f"QEMU has its image open as {disk.filename}, and here that name does not mean it: "
            f"{_WITHOUT}",
            "say where it is with --moved OLD=NEW then",
        )
    elif disk.place.reach is Reach.NO_FILE:
        yield Problem(
            NO_FILE,
            disk.name,
            f"its image {disk.filename[:80]!r} is no file of this machine, so no lock keeps two writers "
            "apart: without its VM no part in it is loaded, deleted or repaired, and no overlay merged",
            "start the VM for that",
        )
    if disk.header_names:
        yield Problem(
            HEADER,
            disk.name,
            f"QEMU was told its chain of images, and a header in it names another one: "
            f"{disk.header_names}. A fresh QEMU that is given the upper image alone would follow that, "
            "so `load --run` and `load --offline` refuse it",
            "end the VM and correct it: qemu-img rebase -u -f qcow2 -F FORMAT -b LOWER UPPER",
        )
    if disk.encrypted and disk.driver == "qcow2":
        yield Problem(
            ENCRYPTED,
            disk.name,
            "it is encrypted: without its VM and without its key this part can be verified, and not "
            "loaded, deleted or repaired",
            f"keep a file that holds the key, for --secret {disk.key_secret or 'ID'}=FILE then",
        )


def reach_problems(disk: Disk) -> Iterator[Problem]:
    """Why a disk can be no part at all: its image does not outlive its VM."""
    if disk.place.reach is Reach.UNLINKED:
        yield Problem(
            "image-unlinked",
            disk.name,
            f"its image {disk.filename} has no name any more and is gone when QEMU ends, as with "
            "-snapshot: so would the snapshot be",
            "start the VM without -snapshot, or exclude the disk",
        )


def shared_problems(wanted: Collection[str], disks: Iterable[Disk]) -> Iterator[Problem]:
    """Why one image cannot be the part of two disks: it would be snapshotted twice.

    Args:
        wanted: Disks that are to be parts, by name.
        disks: All that the VM has.
    """
    writers: dict[object, list[Disk]] = {}
    for disk in disks:
        for key in () if disk.read_only else _keys(disk):
            writers.setdefault(key, []).append(disk)
    told = set()
    for sharing in writers.values():
        for disk in sharing if len(sharing) > 1 else ():
            if disk.name in wanted and disk.name not in told:
                told.add(disk.name)
                yield _shared(disk, next(other for other in sharing if other.name != disk.name))


def _keys(disk: Disk) -> Iterator[object]:
    """By what an image is known among those of one VM at one moment."""
    if disk.filename and not disk.filename.startswith("/dev/fdset/"):
        yield disk.filename
    if disk.place.known:
        yield disk.place.device, disk.place.inode


def _shared(disk: Disk, other: Disk) -> Problem:
    names = ", ".join(sorted({disk.filename, other.filename}))
    return Problem(
        "image-shared",
        disk.name,
        f"disk {other.name!r} writes to the same image ({names}): it would be snapshotted twice, and "
        "each would damage what the other has written",
        "give each disk an image of its own",
    )
