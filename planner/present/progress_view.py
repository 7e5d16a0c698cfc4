"""Progress, for a program that reads the lines of `--progress json`."""

from __future__ import annotations

from planner.present.outputs import output
from planner.run.progress import Progress

__all__ = ["progress_to_plain"]


def progress_to_plain(progress: Progress) -> dict[str, object]:
    """One line: every member is there, whatever it is about."""
    return output(
        "progress",
        {
            "progress": {
                "kind": progress.kind.value,
                "text": progress.text,
                "phase": progress.phase,
                "step": progress.step,
                "steps": progress.steps,
                "bytes-done": progress.bytes_done,
                "bytes-total": progress.bytes_total,
                "seconds": round(progress.seconds, 3),
            }
        },
    )
