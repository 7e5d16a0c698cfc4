"""Compares a snapshot with its manifest on a running VM.  Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from planner.errors import CannotConnect, Problem, in_order
from planner.host.evidence import record_of
from planner.model.facts import Facts
from planner.model.image import Image, images_of_nodes
from planner.parts.file_checks import file_problems
from planner.parts.manifest import Manifest
from planner.parts.part import ManifestPart, Seen
from planner.parts.part_checks import (
    manifest_problems,
    part_problems,
    vm_problems,
)
from planner.parts.part_image import ImagesByDisk, images_of_vm
from planner.parts.recorded_files import FoundFile
from planner.run.ports import Backend, CommandRefused, ConnectionLost, Images, NoReply

__all__ = [
    "ask_images",
    "verify_by_facts",
    "verify_images",
    "with_images_beside",
]

_TIMEOUT_S = 60.0
_OF_THE_IMAGE = frozenset({"part-missing", "part-format-differs", "part-size-differs"})


async def ask_images(backend: Backend) -> dict[str, Image]:
    """Every image that a VM has open, by file: those under an overlay too.

    Raises:
        CannotConnect: The VM does not answer, or not in the shape that QMP says.
    """
    nodes = await _ask(backend, "query-named-block-nodes", {"flat": True})
    return images_of_nodes(nodes, await _ask(backend, "query-blockstats", {}))


async def _ask(backend: Backend, command: str, arguments: dict[str, object]) -> object:
    try:
        return await backend.execute(command, arguments, _TIMEOUT_S)
    except (CommandRefused, ConnectionLost, NoReply) as error:
        raise CannotConnect(f"no answer to {command}: {error}", code="query-failed") from error


async def with_images_beside(
    manifest: Manifest, images: ImagesByDisk, files: Images
) -> ImagesByDisk:
    """The same images, and those of parts that the VM runs beside, on another branch of its disks.

    A snapshot that goes back in a fresh QEMU needs its own images only.  A VM that went back to an
    earlier one has them no longer open, and takes nothing from it.  One that is a disk of another name
    now is not added: it was swapped.

    Args:
        manifest: What was recorded.
        images: Those that the VM has open, by disk.
        files: The VM's images, as files of this machine.
    """
    if not any(part.external for part in manifest.parts):
        return images  # it is loaded by the VM itself, on the images that it has open
    opened = {file for of_disk in images.values() for file in of_disk}
    found = {disk: dict(of_disk) for disk, of_disk in images.items()}
    for part in manifest.parts:
        if part.images and not part.disk:
            await _add_own_image(part, found, files)
    for part in manifest.disk_parts:
        if part.disk not in found or part.file in opened:
            continue
        try:
            inside = not part.external
            snapshots = await files.snapshots(part.file) if inside else ()
        except NoReply:
            continue
        if inside or record_of(part.file).known:
            found[part.disk][part.file] = Image(
                *(part.file, part.format, part.virtual_size_bytes, snapshots), active=False
            )
    return found


async def _add_own_image(
    part: ManifestPart, found: dict[str, dict[str, Image]], files: Images
) -> None:
    """Look into an image that is a part alone: no disk of the VM has it open."""
    for file, image_format in part.images:
        try:
            held = await files.snapshots(file)
        except NoReply:
            continue  # that it is not there, its size tells
        image = Image(file, image_format, 0, held, active=False)
        found.setdefault(part.disk, {})[file] = image


def verify_images(
    manifest: Manifest,
    facts: Facts,
    images: ImagesByDisk,
    sizes: Mapping[str, int | None] | None,
    files: Mapping[str, FoundFile] | None = None,
) -> tuple[Problem, ...]:
    """Everything that is wrong with a snapshot, in canonical order; empty: it is whole.

    Args:
        manifest: What was recorded.
        facts: The VM now.
        images: The VM's images, by disk and file; once for many manifests.
        sizes: Bytes of each stream's file; None where this machine cannot see the VM's files.
        files: The files that must be what they were, as they are; likewise.
    """
    problems = [
        *manifest_problems(manifest),
        *part_problems(manifest, Seen(images, sizes)),
        *vm_problems(manifest, facts),
        *file_problems(manifest, files or {}),
    ]
    return in_order(problems)


def verify_by_facts(manifest: Manifest, facts: Facts) -> tuple[Problem, ...]:
    """What `verify_images` finds, as far as facts alone show it: nothing of what is under an overlay."""
    under = {layer.filename for disk in facts.disks for layer in disk.backing}
    unseen = {part.disk for part in manifest.parts if part.file in under}
    return tuple(
        problem
        for problem in verify_images(manifest, facts, images_of_vm(facts, {}), None)
        if problem.subject not in unseen or problem.code not in _OF_THE_IMAGE
    )
