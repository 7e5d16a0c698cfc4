"""Goes back to a disk-only snapshot offline: no QMP command reverts a disk (fact 21), qemu-img does.

Each disk is reverted by id (fact 9), after all of them were looked at.  Reverting twice is reverting
once, so what was interrupted is finished by another run.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from planner.errors import Problem, Refused, RunFailed, UndoIncomplete, in_order
from planner.host.evidence import check_files
from planner.host.left_out import look_at_left_out
from planner.inspect.before_writing import unwritable
from planner.inspect.offline import OfflineImages, images_of_files
from planner.model.image import Image
from planner.model.manifest import Manifest, ManifestPart, PartKind
from planner.parts.accepting import NOTHING_ACCEPTED, Accepted, not_accepted
from planner.parts.left_out_checks import left_out_problems
from planner.parts.part_checks import internal_problems, manifest_problems
from planner.run.ports import Host, NoReply, Reporter
from planner.run.reporting import telling

__all__ = ["offline_commands", "revert_offline"]


def offline_commands(manifest: Manifest) -> tuple[str, ...]:
    """What a person types to go back to a disk-only snapshot once no VM has its images open."""
    return tuple(
        shlex.join(["qemu-img", "snapshot", f"-a{part.snapshot_id}", "--", part.file])
        for part in manifest.of_kind(PartKind.INTERNAL)
    )


async def revert_offline(  # noqa: PLR0913 - what a load is decided on
    manifest: Manifest,
    images: OfflineImages,
    others: Sequence[Manifest] = (),
    reporter: Reporter | None = None,
    accepted: Accepted = NOTHING_ACCEPTED,
    *,
    host: Host | None = None,
) -> tuple[ManifestPart, ...]:
    """Revert every disk of a disk-only snapshot.

    Args:
        manifest: The snapshot.
        images: Its image files; no VM has them open.
        others: The other snapshots of its VM: an image that one of them has frozen is not reverted.
        reporter: Who is told of the progress.
        accepted: What may differ.
        host: Looks whether each image can be written to before one is; None: nobody does.

    Returns:
        The parts, all of them reverted.

    Raises:
        Refused: With every problem; nothing was reverted.
        RunFailed: The first disk could not be reverted; nothing was.
        UndoIncomplete: Some disks are reverted and some are not; the problems say which.
    """
    found, unreadable = await images_of_files(manifest, images)
    left_out = not_accepted(left_out_problems(manifest, look_at_left_out(manifest)), accepted)
    changed = check_files(manifest)
    problems = in_order((*unreadable, *_problems(manifest, found, others), *left_out, *changed))
    parts = manifest.of_kind(PartKind.INTERNAL)
    problems = problems or await unwritable({part.disk: part.file for part in parts}, host)
    if problems:
        message = f"snapshot {manifest.tag!r} cannot be loaded safely"
        raise Refused(message, problems=problems, code="load-refused")
    tell = telling(reporter)
    for number, part in enumerate(parts):
        tell.step(number + 1, len(parts), f"revert {part.disk}")
        try:
            await images.revert(part.file, part.snapshot_id)
        except NoReply as failed:
            raise _failed(manifest, parts, number, str(failed)) from failed
    return parts


def _problems(
    manifest: Manifest, found: Mapping[str, Mapping[str, Image]], others: Sequence[Manifest]
) -> Iterator[Problem]:
    yield from manifest_problems(manifest)
    seen = {disk: files for disk, files in found.items() if files}
    for problem in internal_problems(manifest, seen):
        if problem.subject in seen:
            yield problem
    yield from _kinds(manifest)
    frozen = {
        part.file: other.tag
        for other in others
        for part in other.of_kind(PartKind.OVERLAY)
        if other.tag != manifest.tag
    }
    for part in manifest.of_kind(PartKind.INTERNAL):
        if part.file in frozen:
            words = f"{part.file} is frozen under an overlay: it is a part of {frozen[part.file]!r}"
            yield Problem("part-needed", part.disk, words, "delete that snapshot first")
        image = found.get(part.disk, {}).get(part.file)
        for bitmap in () if image is None else image.bitmaps:
            words = f"dirty bitmap {bitmap!r} is in the image, and stops the revert"
            yield Problem("dirty-bitmap", part.disk, words, "remove it with `qemu-img bitmap`")


def _kinds(manifest: Manifest) -> Iterator[Problem]:
    if manifest.vmstate is not None:
        yield Problem(
            "machine-state-online",
            manifest.tag,
            "it holds machine state, and only a running QEMU can load that",
            "start QEMU (paused: -S), and load it there",
        )
    for part in manifest.of_kind(PartKind.OVERLAY):
        words = "its part is an image under an overlay, and no snapshot in an image"
        yield Problem("load-cannot", part.disk, words)


def _failed(
    manifest: Manifest, parts: tuple[ManifestPart, ...], number: int, why: str
) -> RunFailed:
    where = f"{parts[number].disk}: {why}"
    cause = Problem("revert-failed", parts[number].disk, why)
    if number == 0:
        state = "No VM was used; no disk was reverted."
        return RunFailed(where, problems=(cause,), code=cause.code, vm_state=state)
    done = [
        Problem("disk-reverted", part.disk, f"it was reverted to {manifest.tag!r}")
        for part in parts[:number]
    ]
    rest = [
        Problem("disk-not-reverted", part.disk, "it holds what it held before", "load again")
        for part in parts[number:]
    ]
    return UndoIncomplete(
        where,
        problems=(cause, *done, *rest),
        code=cause.code,
        vm_state="No VM was used; do not start one on these disks before another load has succeeded.",
    )
