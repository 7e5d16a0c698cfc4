"""Verify: compares a snapshot with its manifest, on a running VM or in its files.  Changes nothing."""

from __future__ import annotations

from planner.errors import Problem, Refused, in_order
from planner.host.evidence import stream_sizes
from planner.host.left_out import look_at_left_out
from planner.host.reading import read_files
from planner.inspect.offline import check_images
from planner.inspect.offline import verify_offline as verify_files
from planner.inspect.verifying import ask_images, verify_images, with_images_beside
from planner.parts.file_checks import file_notes, recorded_files
from planner.parts.left_out_checks import left_out_problems
from planner.parts.needing_vm import unreached_problems
from planner.parts.part_image import ImagesByDisk, images_of_vm
from planner.present.verdict_view import Verdict
from planner.recover.pending_images import check_images_free
from planner.store.meeting import meet
from planner.verbs.context import Context, Offline
from planner.verbs.find import find_in_store, find_on_vm, store_of
from planner.verbs.reading import on_read

__all__ = ["verify", "verify_offline"]


async def verify(context: Context, source: str, *, deep: bool = False) -> Verdict:
    """Compare a snapshot of a running VM with its record: every part, once, of one instant.

    Args:
        context: The VM, connected, and who is told of the progress.
        source: A tag that the store has for this VM, or a manifest's file.
        deep: Whether what there is a digest of is read; images that the VM has open cannot be checked
            by qemu-img, and the verdict says so.

    Raises:
        BadInput: There is no such manifest.
        CannotConnect: The VM does not answer.
    """
    met = await meet(context.backend, context.store, context.address)
    facts, manifest = met.facts, find_on_vm(source, met.vm, met).manifest
    below = await ask_images(context.backend)
    local = context.backend.images is not None
    sizes = stream_sizes(manifest) if local else None
    files = (
        await read_files(manifest, on_read(context.reporter), deep=deep, template=True)
        if local
        else {}
    )
    images: ImagesByDisk = images_of_vm(facts, below)
    if context.backend.images is not None:
        images = await with_images_beside(manifest, images, context.backend.images)
    findings = verify_images(manifest, facts, images, sizes, files)
    unchecked = list(file_notes(manifest, files, deep=deep)) if local else []
    if not local and (
        any(part.own_file for part in manifest.parts) or any(recorded_files(manifest))
    ):
        unchecked.append(
            "the machine state's file, and whether frozen images were written to: the VM's files "
            "are not to be seen from here"
        )
    if deep:
        unchecked.append("the images with qemu-img: the VM has them open; use --offline")
    unchecked += manifest.unproved
    now = look_at_left_out(manifest, local=local)
    left_out = in_order(left_out_problems(manifest, now, facts))
    return Verdict(manifest, findings, tuple(unchecked), left_out)


async def verify_offline(offline: Offline, source: str, *, deep: bool = False) -> Verdict:
    """Compare a snapshot with its record in the image files themselves; no VM may have them open.

    Args:
        offline: The store and the images.
        source: A tag that the store has, or a manifest's file.
        deep: Whether what there is a digest of is read, and `qemu-img check` run on each image.

    Raises:
        BadInput: There is no such manifest, or several VMs have one.
        Refused: A VM has an image open, or an unfinished run concerns it.
    """
    found = find_in_store(source, offline.store, offline.vm_name)
    manifest = found.manifest
    images = offline.unlocked(manifest).images
    check_images_free(offline.store, manifest, store_of(found, offline.store))
    files = await read_files(manifest, on_read(offline.reporter), deep=deep, template=True)
    findings = await verify_files(manifest, images, stream_sizes(manifest), files)
    _refuse_used(findings)
    if deep:
        unreached = {problem.subject for problem in unreached_problems(manifest)}
        looked_into = [
            (file, image_format)
            for part in manifest.parts
            if part.disk not in unreached
            for file, image_format in part.images
            if image_format != "raw"  # of a raw image there is nothing that qemu-img could check
        ]
        findings = in_order((*findings, *await check_images(looked_into, images)))
        _refuse_used(findings)
    notes = file_notes(manifest, files, deep=deep)
    unchecked = ("the machine and its devices: no VM was asked", *notes, *manifest.unproved)
    left_out = in_order(left_out_problems(manifest, look_at_left_out(manifest)))
    return Verdict(manifest, findings, unchecked, left_out)


def _refuse_used(findings: tuple[Problem, ...]) -> None:
    """An image that somebody has open says nothing of a snapshot, good or bad."""
    used = tuple(problem for problem in findings if problem.code == "image-in-use")
    if used:
        raise Refused("a VM has the images open", problems=used, code="image-in-use")
