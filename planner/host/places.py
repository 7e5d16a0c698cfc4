"""Looks where a VM's images are: which files they are here, and whether their names mean them.

QEMU says what *it* calls an image.  That it means the same here is not certain: QEMU may run among
other mounts, its working folder may be another one, the file may have been given by descriptor, or have
no name any more.  What proves it is the process: it has its images open, and /proc says which files
these are (fact 71).  Where /proc says nothing (another user's process, a relay at the socket), nothing
is claimed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from attrs import evolve, frozen

from planner.host.birth import born_ns
from planner.host.headers import header_differs
from planner.model.facts import Disk, Facts
from planner.model.image_place import UNPLACED, ImagePlace, Reach
from planner.parts.manifest import Manifest
from planner.parts.recognizing import recognized, with_files

__all__ = [
    "OpenByProcess",
    "absolute_name",
    "leads_to_it",
    "open_by",
    "place_of",
    "recognizer",
    "with_places",
]

_PROC = Path("/proc")
_GONE = " (deleted)"
_DESCRIPTORS = "/dev/fdset/"


@frozen
class OpenByProcess:
    """What a process has open, and how it sees the file system.

    Attributes:
        files: Each open file's place, by the name that the kernel has for it.
        folder: Its working folder.
        same_mounts: Whether it sees the same mounts as we do.
        root: A path here that means its root.
        root_name: What the kernel calls its root.
    """

    files: dict[str, ImagePlace]
    folder: str
    same_mounts: bool
    root: str = ""
    root_name: str = "/"

    def has(self, place: ImagePlace) -> bool:
        """Whether it has this very file open."""
        return any(place.is_same_file(each) for each in self.files.values())

    def has_unlinked(self, name: str) -> bool:
        """Whether it has a file open that had this name for it, and has none any more."""
        return any(file.endswith(f"{name}{_GONE}") for file in self.files)

    def without_root(self, file: str) -> str:
        """A kernel's name of a file as a process calls it whose root is a folder of ours."""
        root = self.root_name.rstrip("/")
        return file.removeprefix(root) if file.startswith(f"{root}/") else file


def open_by(pid: int | None) -> OpenByProcess | None:
    """What a process has open; None: that cannot be seen."""
    if not pid:
        return None
    process = _PROC / str(pid)
    try:
        folder = str((process / "cwd").readlink())
        same = (process / "ns/mnt").readlink() == (_PROC / "self/ns/mnt").readlink()
        root = str((process / "root").readlink())
        same = same and root == "/"
        files = {}
        for descriptor in (process / "fd").iterdir():
            try:
                name = str(descriptor.readlink())
            except FileNotFoundError:
                continue  # closed meanwhile
            if name.startswith("/"):
                files[name] = place_of(str(descriptor), born=False)
    except OSError:
        return None
    return OpenByProcess(files, folder, same, str(process / "root"), root)


def place_of(name: str, *, born: bool = True) -> ImagePlace:
    """Which file a path means here; unplaced where it means none that can be looked at.

    Args:
        name: An absolute path; links are followed.
        born: Whether it is asked when the file was made, too.
    """
    try:
        found = os.stat(name) if name.startswith("/") else None  # noqa: PTH116 - of descriptors too
    except (OSError, ValueError):
        found = None
    if found is None:
        return UNPLACED
    if stat.S_ISBLK(found.st_mode):
        return ImagePlace(found.st_rdev)
    if not stat.S_ISREG(found.st_mode):
        return UNPLACED
    return ImagePlace(found.st_dev, found.st_ino, born_ns(name) if born else 0)


def absolute_name(name: str, opened: OpenByProcess) -> str:
    """What a relative name of QEMU's is from the root; as it is where nothing proves that.

    The working folder may have changed since QEMU opened the file (``-daemonize`` does that): the file
    must be among those that are open, by the folder or by how its name ends.
    """
    ending = "/" + os.path.normpath(name).replace("../", "")
    candidates = [
        os.path.normpath(Path(opened.folder) / name),
        *(file for file in opened.files if file.endswith(ending)),
    ]
    found = {
        here
        for file in candidates
        for here in (file, opened.without_root(file))
        if opened.has(place_of(here, born=False))
    }
    return min(found) if len({place_of(file, born=False) for file in found}) == 1 else name


def leads_to_it(name: str, opened: OpenByProcess) -> bool:
    """Whether a relative name, looked up in a process's working folder, is a file that it has open."""
    here = os.path.normpath(Path(opened.folder) / name)
    return any(opened.has(place_of(file, born=False)) for file in (here, opened.without_root(here)))


def with_places(facts: Facts, pid: int | None) -> Facts:
    """Facts of a VM of this machine, with where its images are.

    Args:
        facts: Just asked from it.
        pid: The process at the other end; None: it cannot be known.
    """
    opened = open_by(pid)
    disks = tuple(_placed(disk, opened) for disk in facts.disks)
    return evolve(facts, disks=disks)


def _placed(disk: Disk, opened: OpenByProcess | None) -> Disk:
    place = _place(disk, opened)
    named = header_differs(disk) if place.reach is Reach.HERE and disk.backing else ""
    return evolve(disk, place=place, header_names=named)


def _place(disk: Disk, opened: OpenByProcess | None) -> ImagePlace:
    name = disk.filename
    if not name:
        return UNPLACED
    if name.startswith(_DESCRIPTORS):
        return ImagePlace(reach=Reach.ELSEWHERE)
    if not name.startswith("/"):
        return ImagePlace(reach=Reach.NO_FILE if ":" in name else Reach.ELSEWHERE)
    found = place_of(name)
    if opened is None:
        return found
    if found.known and opened.has(found):
        return evolve(found, reach=Reach.HERE)
    if opened.has_unlinked(name):
        return ImagePlace(reach=Reach.UNLINKED)
    if opened.same_mounts:
        return ImagePlace()
    # It is another file, or none, by that name here; by what QEMU sees it is known wherever it is.
    return evolve(place_of(f"{opened.root}{name}"), reach=Reach.ELSEWHERE)


def recognizer(facts: Facts, *, here: bool) -> Callable[[Manifest], Manifest]:
    """How the manifests of a VM are read: by what its images are called and hang on now.

    Args:
        facts: The VM.
        here: Whether its files are this machine's.
    """
    known = dict.fromkeys(_names(facts), UNPLACED)
    if here:
        known = {name: place_of(name) for name in known}
    seen: dict[str, str] = {}

    def today(recorded: ImagePlace) -> Callable[[str], str]:
        def name_of(name: str) -> str:
            if name in known or not here:
                return name
            if name not in seen:
                seen[name] = _same(place_of(name), known, ImagePlace.is_same_file) or name
            moved = seen[name] == name and not Path(name).exists()
            return (_same(recorded, known, ImagePlace.is_lasting_same) if moved else "") or seen[
                name
            ]

        return name_of

    def view(manifest: Manifest) -> Manifest:
        moved = {part.file: part.place for part in manifest.disk_parts if part.place.known}

        def name_of(name: str) -> str:
            return today(moved.get(name, UNPLACED))(name)

        return recognized(with_files(manifest, name_of), facts)

    return view


def _same(
    wanted: ImagePlace,
    known: dict[str, ImagePlace],
    is_same: Callable[[ImagePlace, ImagePlace], bool],
) -> str:
    return next((name for name, place in known.items() if is_same(wanted, place)), "")


def _names(facts: Facts) -> Iterable[str]:
    for disk in facts.disks:
        yield from filter(None, (disk.filename, *(layer.filename for layer in disk.backing)))
    yield from (drive.file for drive in facts.drives if drive.file)
