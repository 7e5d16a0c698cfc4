"""What is looked at on QEMU's host before a delete begins: nothing has been changed when it is refused.

Whether an overlay's file is there tells one that is merged from one that a QEMU was started without;
locks, permissions, room, and whether an image was written to since it was frozen, would else be found
when half of the snapshot is gone.
"""

from __future__ import annotations

from planner.delete.delete_checks import DeletePlan
from planner.errors import Problem, Refused, SnapplanError, in_order
from planner.host.evidence import removal_problems
from planner.inspect.before_writing import unwritable
from planner.model.replies import snapshots_of_image
from planner.parts.deletions import UNPROVED, UNPROVED_REMEDY, MergedOverlay
from planner.parts.internal import InternalSnapshot
from planner.parts.manifest import Manifest
from planner.parts.needing_vm import unreached_problems
from planner.run.ports import Host, HostRefused, NoReply

__all__ = ["absent_files", "check_beforehand", "check_shown", "check_streams"]

_TIMEOUT_S = 600.0
_REMEDIES = {
    "image-in-use": "end that QEMU first",
    "part-needed": "merge or remove that image first, or keep the overlay (--overlays keep)",
    "no-room": "make room, or keep the overlay (--overlays keep)",
    "file-unwritable": "give the right to it, or keep the overlay (--overlays keep)",
    "file-differs": "keep the overlay (--overlays keep)",
    UNPROVED: UNPROVED_REMEDY,
}


async def absent_files(manifest: Manifest, host: Host | None) -> frozenset[str]:
    """The images of a snapshot that are known to be gone (`planner.host.absence`).

    Where a file system may not be mounted nothing is known, nor of another machine's files.
    """
    if host is None or manifest.is_elsewhere:
        return frozenset()
    unreached = {problem.subject for problem in unreached_problems(manifest)}
    parts = [part for part in manifest.parts if part.disk not in unreached]
    files = {file for part in parts for file, _ in part.images if file}
    return frozenset([file for file in sorted(files) if await _is_gone(file, host)])


async def _is_gone(path: str, host: Host) -> bool:
    try:
        return bool((await host.do("is-there", {"path": path}, _TIMEOUT_S)).get("gone"))
    except (HostRefused, NoReply):
        return False


async def check_beforehand(order: DeletePlan, host: Host | None) -> None:
    """Refuse what would fail part way, or destroy what somebody else needs.

    Raises:
        Refused: With every problem; nothing was changed.
    """
    found = [] if host is None else [await _problem(m, order, host) for m in order.merges]
    problems = [problem for problem in found if problem is not None]
    if order.offline:
        problems += await unwritable({part.disk: part.file for part in order.parts}, host)
    if problems:
        raise Refused(
            f"snapshot {order.tag!r} cannot be deleted safely",
            problems=in_order(problems),
            code="delete-refused",
        )


async def check_shown(manifest: Manifest, order: DeletePlan, host: Host | None) -> None:
    """Refuse where QEMU shows a part no more that its image still holds: a deletion failed (fact 140).

    Asked are only images whose part QEMU does not show.  Where the files are not here, or an image
    cannot be looked at, QEMU is believed.

    Raises:
        Refused: With every such part (``part-hidden``); nothing was changed.
    """
    shown = {part.disk for part in order.parts}
    parts = [part for part in manifest.of(InternalSnapshot) if part.disk not in shown]
    hidden = [] if host is None else [part for part in parts if await _is_held(part, host)]
    problems = in_order(
        Problem(
            "part-hidden",
            part.disk,
            f"QEMU shows snapshot {part.snapshot_id} {order.tag!r} no more, and {part.file} holds it: a "
            "deletion of it failed (fact 140)",
            "shut the VM down; then delete it with --offline, or when the VM was started again",
        )
        for part in hidden
    )
    if problems:
        message = f"not all of snapshot {order.tag!r} can be deleted by this QEMU"
        raise Refused(message, problems=problems, code="delete-refused")


async def _is_held(part: InternalSnapshot, host: Host) -> bool:
    try:
        told = await host.do("look-at-open", {"path": part.file}, _TIMEOUT_S)
        return part.is_among(snapshots_of_image(told.get("info")))
    except (HostRefused, NoReply, SnapplanError):
        return False


def check_streams(manifest: Manifest) -> None:
    """Refuse to remove a file of machine state that may be anybody's by now.

    Raises:
        Refused: With every such file (``stream-differs``); nothing was changed.
    """
    problems = in_order(removal_problems(manifest))
    if problems:
        message = f"snapshot {manifest.tag!r} cannot be deleted safely"
        raise Refused(message, problems=problems, code="delete-refused")


async def _problem(merge: MergedOverlay, order: DeletePlan, host: Host) -> Problem | None:
    arguments = {
        **merge.for_the_host,
        **merge.evidence,
        "online": not order.offline,
    }
    try:
        await host.do("look-before-merge", arguments, _TIMEOUT_S)
    except HostRefused as refused:
        remedy = _REMEDIES.get(refused.code, "")
        return Problem(refused.code, merge.disk, refused.description, remedy)
    except NoReply as silent:
        words = f"{merge.overlay_file} cannot be looked at: {silent}"
        return Problem("image-unreadable", merge.disk, words)
    return None
