"""What is said of a file that an undo could not remove, and what is safe to do about it."""

from __future__ import annotations

from planner.errors import Problem
from planner.parts.deletions import UNPROVED, UNPROVED_REMEDY
from planner.run.actions import ErrorReply, NoAnswer

__all__ = ["left_file"]

_IN_USE_REMEDY = (
    "do not remove it while it is in use. A program that only reads it: end it. A VM that runs on it: "
    "merge it (a domain of libvirt's: `virsh blockcommit DOMAIN DISK --active --pivot`; another QEMU: "
    "`block-commit`, then `job-complete`). Then run `snapplan recover`"
)
_MERGE_REMEDY = (
    "it may hold the guest's last writes: unless it has been merged since, shut the VM down; then run "
    "`snapplan recover`. Remove it only if it was merged (`virsh blockcommit`, `block-commit`)"
)


def left_file(
    path: str, response: ErrorReply | NoAnswer, *, overlay: bool, merging: bool
) -> Problem:
    """The problem of a file that may still be there.

    Args:
        path: The file.
        response: Why it was not removed.
        overlay: Whether it is an overlay.
        merging: Whether the guest may have written to it, so that it had to be merged first.
    """
    why = response.why if isinstance(response, NoAnswer) else response.description
    code = response.error_class if isinstance(response, ErrorReply) else ""
    if code == UNPROVED:
        return Problem(UNPROVED, path, f"it is kept, and not merged: {why}", UNPROVED_REMEDY)
    if overlay and code == "image-in-use":
        return Problem("overlay-in-use", path, f"it is kept, and not merged: {why}", _IN_USE_REMEDY)
    remedy = _MERGE_REMEDY if merging else "look, and remove it"
    return Problem("file-left", path, f"it may still be there: {why}", remedy)
