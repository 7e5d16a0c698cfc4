"""The images of a VM that is not running: what `verify`, `load` and `delete` need of them offline.

qemu-img's own lock keeps it away from an image that a VM has open: every method then says so.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Protocol

from planner.errors import Problem, in_order
from planner.host.absence import whether_there
from planner.model.image import Image
from planner.parts.file_checks import file_problems
from planner.parts.manifest import Manifest
from planner.parts.needing_vm import unreached_problems
from planner.parts.part import Seen
from planner.parts.part_checks import manifest_problems, part_problems
from planner.parts.recorded_files import FoundFile
from planner.run.ports import Images, NoReply

__all__ = [
    "LookedAtOnce",
    "OfflineImages",
    "check_images",
    "header_problems",
    "images_of_files",
    "may_be_one",
    "verify_offline",
]


class OfflineImages(Images, Protocol):
    """Images that no VM has open, with what is done to them offline."""

    async def look(self, filename: str, image_format: str) -> Image:
        """An image, its snapshots, and the file that its header says is under it; opens no other file.

        Args:
            filename: Its file.
            image_format: Its format, as recorded: what a guest wrote there does not choose it.

        Raises:
            NoReply: It cannot be looked at; somebody has it open, or it is not there.
        """
        ...

    async def check(self, filename: str, image_format: str) -> str:
        """What `qemu-img check` finds, in words; empty: it is sound.

        Raises:
            NoReply: It cannot be checked.
        """
        ...

    async def revert(self, filename: str, snapshot_id: str) -> None:
        """Revert the image to a snapshot, by id (fact 9).

        Raises:
            NoReply: It was not reverted.
        """
        ...


class LookingImages(Protocol):
    """Images that can be looked at."""

    async def look(self, filename: str, image_format: str) -> Image:
        """See `OfflineImages.look`."""
        ...


class LookedAtOnce:
    """Images that are looked at once each, however many manifests have parts in them."""

    def __init__(self, images: LookingImages) -> None:
        self._images = images
        self._seen: dict[tuple[str, str], Image | NoReply] = {}

    async def look(self, filename: str, image_format: str) -> Image:
        """See `OfflineImages.look`; the second time it is remembered."""
        which = (filename, image_format)
        if which not in self._seen:
            try:
                self._seen[which] = await self._images.look(filename, image_format)
            except NoReply as silent:
                self._seen[which] = silent
        seen = self._seen[which]
        if isinstance(seen, NoReply):
            raise NoReply(str(seen))
        return seen


async def images_of_files(
    manifest: Manifest, images: LookingImages, absent: Collection[str] = ()
) -> tuple[dict[str, dict[str, Image]], tuple[Problem, ...]]:
    """The images of a manifest's parts by disk and file, and which cannot be looked at.

    Args:
        manifest: The snapshot.
        images: Its image files.
        absent: Files that are known not to be there, and not needed.
    """
    found: dict[str, dict[str, Image]] = {}
    problems: list[Problem] = []
    unreached = {problem.subject: problem for problem in unreached_problems(manifest)}
    for part in manifest.parts:
        if not part.images:
            continue
        files = found.setdefault(part.disk, {})
        if part.disk in unreached:
            problems.append(unreached[part.disk])
            continue
        for file, image_format in part.images:
            if file in absent:
                continue
            try:
                files[file] = await images.look(file, image_format)
            except NoReply as silent:
                problems.append(_unreadable(part.subject, file, str(silent)))
    return found, tuple(problems)


def _unreadable(disk: str, file: str, why: str) -> Problem:
    if "lock" in why:
        words = f"{file} is in use: {why}"
        return Problem("image-in-use", disk, words, "give --vm ADDR, or end the VM first")
    remedy = ""
    if file.startswith("/") and whether_there(file) is not True:
        remedy = (
            "is its file system mounted? If it is gone for good: `snapplan delete TAG --forget`"
        )
    return Problem("image-unreadable", disk, f"{file} cannot be looked at: {why}", remedy)


def header_problems(
    manifest: Manifest, found: Mapping[str, Mapping[str, Image]]
) -> Iterator[Problem]:
    """Frozen images whose header names another file than lay under them when they were frozen.

    A QEMU that is started on the overlay follows the header; the record is what was saved.
    """
    for part in manifest.parts:
        yield from part.header_problems(found, may_be_one)


def may_be_one(one: str, other: str) -> bool:
    """Whether two names may mean one image; what is no path can be said in many ways."""
    if not (one.startswith("/") and other.startswith("/")):
        return True
    return os.path.realpath(one) == os.path.realpath(other)


async def verify_offline(
    manifest: Manifest,
    images: OfflineImages,
    sizes: dict[str, int | None],
    files: Mapping[str, FoundFile] | None = None,
) -> tuple[Problem, ...]:
    """Everything that is wrong with a snapshot's parts, looked at without a VM.

    Args:
        manifest: What was recorded.
        images: Its image files.
        sizes: Bytes of each stream's file; None where it is not there.
        files: The files that must be what they were, as they are.
    """
    found, unreadable = await images_of_files(manifest, images)
    unseen = {problem.subject for problem in unreadable}
    problems = [
        *manifest_problems(manifest),
        *part_problems(manifest, Seen(found, sizes)),
        *header_problems(manifest, found),
    ]
    seen = [problem for problem in problems if problem.subject not in unseen]
    return in_order((*seen, *unreadable, *file_problems(manifest, files or {})))


async def check_images(
    files: Iterable[tuple[str, str]], images: OfflineImages
) -> tuple[Problem, ...]:
    """`qemu-img check` on each file, given with its format, once."""
    problems = []
    for file, image_format in sorted(set(files)):
        try:
            wrong = await images.check(file, image_format)
        except NoReply as silent:
            problems.append(_unreadable(file, file, str(silent)))
        else:
            if wrong:
                words = f"qemu-img check finds {wrong}"
                problems.append(Problem("image-corrupt", file, words, "restore it from a backup"))
    return tuple(problems)
