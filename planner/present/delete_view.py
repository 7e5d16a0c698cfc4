"""A delete, before and after, for a person and for programs."""

from __future__ import annotations

from collections.abc import Sequence

from planner.delete.delete_checks import DeletePlan
from planner.errors import Problem
from planner.present.outputs import output
from planner.present.visible import as_lines
from planner.present.words import problem_to_plain

__all__ = ["delete_text", "delete_to_plain", "forgotten_text", "forgotten_to_plain", "intent_text"]


def intent_text(order: DeletePlan) -> str:
    """What a delete is about to do, in a sentence without its full stop."""
    what = []
    if order.parts:
        parts = ", ".join(f"{part.disk} (id {part.snapshot_id})" for part in order.parts)
        what.append(f"this deletes snapshot {order.tag!r} of {parts}")
    what += [f"this removes {file}" for file in order.streams]
    what += [f"this merges {each.overlay_file} into {each.base_file}" for each in order.merges]
    what += [f"the overlay of {disk} stays" for disk in order.kept]
    if order.gone:
        what.append(f"gone already: {', '.join(order.gone)}")
    return "; ".join(what) or "no part is left of it"


def delete_text(order: DeletePlan) -> str:
    """What was deleted."""
    lines = [f"Snapshot {order.tag!r} is deleted."]
    lines += [f"  {part.disk}: snapshot {part.snapshot_id} of {part.file}" for part in order.parts]
    lines += [f"  removed {file}" for file in order.streams]
    lines += [f"  {m.disk}: {m.overlay_file} merged into {m.base_file}" for m in order.merges]
    lines += [f"  {disk}: its overlay stays" for disk in order.kept]
    lines += [f"  {disk}: it was gone already" for disk in order.gone]
    if order.merges:
        lines.append("From now on the VM is to be started on the image again:")
    for merged in order.merges:
        lines.append(f"  {merged.disk}: {merged.base_file} (format={merged.base_format})")
        lines.append(f"    in place of {merged.overlay_file}")
    return as_lines(lines)


def delete_to_plain(order: DeletePlan) -> dict[str, object]:
    """What `delete_text` says, as plain values."""
    return output(
        "delete",
        {
            "tag": order.tag,
            "deleted": [
                {"disk": part.disk, "id": part.snapshot_id, "file": part.file}
                for part in order.parts
            ],
            "removed": list(order.streams),
            "merged": [
                {"disk": m.disk, "overlay": m.overlay_file, "into": m.base_file}
                for m in order.merges
            ],
            "kept": list(order.kept),
            "gone-already": list(order.gone),
        },
    )


def forgotten_text(tag: str, left: Sequence[Problem]) -> str:
    """A record that is gone, and what stays where it is."""
    lines = [f"Snapshot {tag!r} is forgotten: its record is gone, and no part of it was touched."]
    lines += [f"  {problem.words}" for problem in left]
    return as_lines(lines)


def forgotten_to_plain(tag: str, left: Sequence[Problem]) -> dict[str, object]:
    """What `forgotten_text` says, as plain values."""
    body: dict[str, object] = {"tag": tag, "deleted": [], "removed": [], "merged": [], "kept": []}
    gone = {"gone-already": [], "left": [problem_to_plain(problem) for problem in left]}
    return output("delete", {**body, **gone})
