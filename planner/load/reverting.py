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
from planner.model.image_key import NO_SECRETS, Secrets
from planner.parts.accepting import NOTHING_ACCEPTED, Accepted, not_accepted
from planner.parts.internal import InternalSnapshot
from planner.parts.left_out_checks import left_out_problems
from planner.parts.manifest import Manifest
from planner.parts.needing_vm import unwritable_problems
from planner.parts.part_checks import manifest_problems
from planner.run.ports import Host, NoReply, Reporter
from planner.run.reporting import telling

__all__ = ["offline_commands", "revert_offline"]


def offline_commands(manifest: Manifest) -> tuple[str, ...]:
    """What a person types to go back to a disk-only snapshot once no VM has its images open."""
    return tuple(shlex.join(part.revert_command) for part in manifest.of(InternalSnapshot))


async def revert_offline(  # noqa: PLR0913 - what a load is decided on
    manifest: Manifest,
    images: OfflineImages,
    others: Sequence[Manifest] = (),
    reporter: Reporter | None = None,
    accepted: Accepted = NOTHING_ACCEPTED,
    *,
    host: Host | None = None,
    secrets: Secrets = NO_SECRETS,
) -> tuple[InternalSnapshot, ...]:
    """Revert every disk of a disk-only snapshot.

    Args:
        manifest: The snapshot.
        images: Its image files; no VM has them open.
        others: The other snapshots of its VM: an image that one of them has frozen is not reverted.
        reporter: Who is told of the progress.
        accepted: What may differ.
        host: Looks whether each image can be written to before one is; None: nobody does.
        secrets: What opens encrypted images; the images have their keys already.

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
    locked = unwritable_problems(manifest, secrets)
    problems = in_order(
        (*unreadable, *locked, *_problems(manifest, found, others), *left_out, *changed)
    )
    parts = manifest.of(InternalSnapshot)
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
    for part in manifest.parts:
        yield from part.revert_problems(manifest.tag, found)
    if manifest.vmstate is not None:
        yield Problem(
            "machine-state-online",
            manifest.tag,
            "it holds machine state, and only a running QEMU can load that",
            "start QEMU (paused: -S), and load it there",
        )
    frozen = manifest.frozen_elsewhere(others)
    for part in manifest.parts:
        if not part.external and part.file in frozen:
            words = f"{part.file} is frozen under an overlay: it is a part of {frozen[part.file]!r}"
            yield Problem("part-needed", part.disk, words, "delete that snapshot first")


def _failed(
    manifest: Manifest, parts: tuple[InternalSnapshot, ...], number: int, why: str
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
        left=(*done, *rest),
        vm_state="No VM was used; do not start one on these disks before another load has succeeded.",
    )
