"""The images of a VM that is not running: what `verify`, `load` and `delete` need of them offline.

qemu-img's own lock keeps it away from an image that a VM has open: every method then says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from planner.compile.file_checks import FoundFile, file_problems
from planner.compile.part_checks import (
    internal_problems,
    manifest_problems,
    overlay_problems,
    stream_problems,
)
from planner.errors import Problem, in_order
from planner.execute.ports import Images, NoReply
from planner.model.image import Image
from planner.model.manifest import Manifest, PartKind

__all__ = ["LookedAtOnce", "OfflineImages", "check_images", "images_of_files", "verify_offline"]


class OfflineImages(Images, Protocol):
    """Images that no VM has open, with what is done to them offline."""

    async def look(self, filename: str) -> Image:
        """An image, its snapshots, and the files under it.

        Raises:
            NoReply: It cannot be looked at; somebody has it open, or it is not there.
        """
        ...

    async def check(self, filename: str) -> str:
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

    async def look(self, filename: str) -> Image:
        """See `OfflineImages.look`."""
        ...


class LookedAtOnce:
    """Images that are looked at once each, however many manifests have parts in them."""

    def __init__(self, images: LookingImages) -> None:
        self._images = images
        self._seen: dict[str, Image | NoReply] = {}

    async def look(self, filename: str) -> Image:
        """See `OfflineImages.look`; the second time it is remembered."""
        if filename not in self._seen:
            try:
                self._seen[filename] = await self._images.look(filename)
            except NoReply as silent:
                self._seen[filename] = silent
        seen = self._seen[filename]
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
    for part in manifest.parts:
        if part.kind is PartKind.STREAM:
            continue
        files = found.setdefault(part.disk, {})
        for file in filter(None, (part.file, part.overlay_file)):
            if file in absent:
                continue
            try:
                files[file] = await images.look(file)
            except NoReply as silent:
                problems.append(_unreadable(part.disk, file, str(silent)))
    return found, tuple(problems)


def _unreadable(disk: str, file: str, why: str) -> Problem:
    if "lock" in why:
        words = f"{file} is in use: {why}"
        return Problem("image-in-use", disk, words, "give --vm ADDR, or end the VM first")
    return Problem("image-unreadable", disk, f"{file} cannot be looked at: {why}")


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
        *internal_problems(manifest, found),
        *overlay_problems(manifest, found),
        *stream_problems(manifest, sizes),
    ]
    seen = [problem for problem in problems if problem.subject not in unseen]
    return in_order((*seen, *unreadable, *file_problems(manifest, files or {})))


async def check_images(files: Iterable[str], images: OfflineImages) -> tuple[Problem, ...]:
    """`qemu-img check` on each file, once."""
    problems = []
    for file in sorted(set(files)):
        try:
            wrong = await images.check(file)
        except NoReply as silent:
            problems.append(_unreadable(file, file, str(silent)))
        else:
            if wrong:
                words = f"qemu-img check finds {wrong}"
                problems.append(Problem("image-corrupt", file, words, "restore it from a backup"))
    return tuple(problems)
