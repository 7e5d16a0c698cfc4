"""Forget: takes a snapshot's record away, and none of its parts.

It is for records of what is gone: an image was removed with its VM, a disk died.  Nothing is lost where
every part is provably gone.  Where one is still there, or nobody can tell, somebody has to agree:
without its record snapplan neither loads it nor keeps anybody from destroying it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext

from attrs import frozen

from planner.errors import BadInput, Problem, in_order
from planner.host.absence import whether_there
from planner.host.files import remove_file
from planner.inspect.offline import LookingImages, images_of_files
from planner.parts.manifest import Manifest
from planner.parts.part import ManifestPart
from planner.parts.part_image import ImagesByDisk
from planner.recover.pending_images import check_images_free
from planner.run.consent import decide_and_ask
from planner.store.makings import give_up_template
from planner.store.store import VmStore
from planner.template.removing import clear_makings
from planner.verbs.context import Offline, Question
from planner.verbs.find import FoundManifest, find_in_store, read_again, store_of

__all__ = ["Forgotten", "forget_snapshot"]


@frozen
class Forgotten:
    """A snapshot whose record is gone.

    Attributes:
        tag: Its tag.
        left: Parts that are still there, or may be: nobody's from now on.
    """

    tag: str
    left: tuple[Problem, ...]


async def forget_snapshot(offline: Offline, source: str) -> Forgotten:
    """Remove a snapshot's manifest; no image, no part and no VM is changed.

    Args:
        offline: The store, and who is asked.
        source: A tag that the store has, or a manifest's file.

    Raises:
        BadInput: There is no such manifest, nobody could be asked, or it cannot be removed.
        Refused: An unfinished run concerns it, or what was asked about has changed.
    """
    found = find_in_store(source, offline.store, offline.vm_name)
    vm = store_of(found, offline.store)
    with nullcontext() if vm is None else vm.locked():

        async def decide() -> Forgotten:
            manifest = read_again(found).manifest
            check_images_free(offline.store, manifest, vm)
            return Forgotten(manifest.tag, await _left(manifest, offline.images))

        forgotten = await decide_and_ask(decide, lambda each: _ask(each, offline), source)
        if vm is not None:
            give_up_template(vm, forgotten.tag)  # of no use without its record
        _remove(found, vm, forgotten.tag)
        if vm is not None:
            await clear_makings(vm, offline.host)
        return forgotten


async def _left(manifest: Manifest, images: LookingImages) -> tuple[Problem, ...]:
    """What is to be said of parts that are still there, or may be."""
    files = manifest.files if not manifest.is_elsewhere else ()
    there = {file: whether_there(file) for file in files}
    missing = [file for file, is_there in there.items() if is_there is not True]
    seen, _ = await images_of_files(manifest, images, missing)
    return in_order(
        problem for part in manifest.parts for problem in _of(part, manifest.tag, seen, there)
    )


def _of(
    part: ManifestPart, tag: str, images: ImagesByDisk, there: Mapping[str, bool | None]
) -> Iterator[Problem]:
    is_there = part.is_there(tag, images, there)
    if is_there:
        words = f"its part is still there ({part.words})"
        yield Problem("part-there", part.subject, words, "`snapplan delete` takes it away")
    elif is_there is None:
        words = f"nobody can tell from here whether its part is there ({part.words})"
        remedy = "mount its file system, end the VM that has the image open, or run snapplan there"
        yield Problem("part-unseen", part.subject, words, remedy)


def _ask(forgotten: Forgotten, offline: Offline) -> bool:
    if not forgotten.left:
        return False
    left = "; ".join(problem.words for problem in forgotten.left)
    loss = f"{left}; without its record it is neither loaded, deleted nor protected by snapplan"
    question = f"{loss}. Forget it all the same?"
    return offline.consent(Question(forgotten.tag, loss, question, "add --yes"))


def _remove(found: FoundManifest, vm: VmStore | None, tag: str) -> None:
    if vm is not None:
        vm.delete(tag)
        return
    try:
        remove_file(found.path)
    except OSError as error:
        why = f"it cannot be removed: {error.strerror or error}"
        problem = Problem("file-left", str(found.path), why)
        raise BadInput.of(problem) from error
