"""What `gc` found, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence

from planner.collect.unneeded import Orphan
from planner.present.outputs import output
from planner.present.visible import as_lines

__all__ = ["orphans_text", "orphans_to_plain"]


def orphans_text(orphans: Sequence[Orphan], *, removed: bool) -> str:
    """What was found: first what goes, or is gone, then what is left alone."""
    if not orphans:
        return "nothing to collect"
    does = "removed" if removed else "would remove"
    lines = [f"{does} {each.subject}: {each.message}" for each in orphans if each.removable]
    lines += [
        f"left alone {each.subject}: {each.message}" for each in orphans if not each.removable
    ]
    return as_lines(lines)


def orphans_to_plain(orphans: Sequence[Orphan], *, removed: bool) -> dict[str, object]:
    """What `orphans_text` says, as plain values."""
    return output(
        "gc",
        {
            "orphans": [
                {
                    "kind": each.kind.value,
                    "subject": each.subject,
                    "message": each.message,
                    "removable": each.removable,
                    "removed": removed and each.removable,
                }
                for each in orphans
            ],
        },
    )
