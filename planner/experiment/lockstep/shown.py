"""What a VM shows its client, without what may differ from one VM to the other.

Left out are clocks, dates, sizes of machine states and of protocol files, node names that QEMU makes up,
how far a job is, and a job's pauses.  On which side of the reply a job's events stand is open, too
(fact 4): only their order is compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from planner.experiment.lockstep.drawing import Arguments

__all__ = [
    "Event",
    "Shows",
    "copies_begun",
    "job_of",
    "named",
    "only_what_differs",
    "view",
    "without_pauses",
    "without_sizes",
]

Event = tuple[str, Mapping[str, Any]]
"""An event's name and its data."""

_VOLATILE = ("vm-clock-sec", "vm-clock-nsec", "date-sec", "date-nsec", "icount")
_PROGRESS = ("len", "offset", "current-progress", "total-progress", "busy")
_MADE_UP = re.compile(r"#block\d+")


class Shows(Protocol):
    """What can be asked questions."""

    def query(self, command: str, **arguments: object) -> Any:
        """The reply to a question."""


def view(side: Shows) -> dict[str, Any]:
    """All that a client can see of a VM and that must be the same."""
    return {
        "status": side.query("query-status"),
        "jobs": named([_without_progress(job) for job in side.query("query-jobs")]),
        "block-jobs": [_without_progress(job) for job in side.query("query-block-jobs")],
        "blocks": [
            (b["device"], b.get("qdev"), named(b["inserted"]["node-name"]), b["inserted"]["ro"])
            for b in side.query("query-block")
        ],
        "nodes": sorted(
            _node_view(node)
            for node in side.query("query-named-block-nodes", flat=True)
            if not node["node-name"].startswith("#block")
        ),
    }


def named(shown: Any) -> Any:
    """The same with one name for every node whose name QEMU makes up."""
    return json.loads(_MADE_UP.sub("#block", json.dumps(shown)))


def _node_view(node: Mapping[str, Any]) -> tuple[Any, ...]:
    image = node["image"]
    snapshots = [(s["id"], s["name"], s["vm-state-size"] > 0) for s in image.get("snapshots", [])]
    return (
        node["node-name"],
        node["drv"],
        node["ro"],
        node.get("active"),
        "backing_file" in node,
        image["virtual-size"] if node["drv"] != "file" else "length of the file",
        snapshots,
    )


def without_pauses(command: str, arguments: Arguments, events: Sequence[Event]) -> list[Event]:
    """A commit's events without its pauses: whatever drains its nodes lets it stand by and go on."""
    copies = [job_of(data) for data in copies_begun(command, arguments)]
    begun = [arguments.get("job-id"), *copies]
    kept: list[Event] = []
    for name, data in events:
        status = data.get("status") if name == "JOB_STATUS_CHANGE" else None
        pauses = status in ("standby", "paused") or (
            status in ("ready", "running") and data["id"] not in begun
        )
        shown = name, {key: data[key] for key in data if key not in ("len", "offset")}
        if not pauses and not (status and shown in kept):
            kept.append(shown)
    # Copies that one transaction begins run beside each other.
    return sorted(kept, key=_job_told) if len(copies) > 1 else kept


def _job_told(event: Event) -> str:
    _, data = event
    return str(data.get("id", data.get("device", "")))


def copies_begun(command: str, arguments: Arguments) -> list[Any]:
    """The arguments of each copy of a disk that a command begins."""
    if command == "drive-backup":
        return [arguments]
    actions = arguments.get("actions") if command == "transaction" else []
    if not isinstance(actions, list):  # commands that QEMU has to refuse are drawn, too
        return []
    listed = [each for each in actions if isinstance(each, dict)]
    return [
        each["data"] for each in listed if each.get("type") in ("blockdev-backup", "drive-backup")
    ]


def job_of(data: Arguments) -> Any:
    """What a copy's job is called: as its -drive, unless it has a name."""
    return data.get("job-id", data.get("device"))


def _without_progress(job: Mapping[str, Any]) -> Mapping[str, Any]:
    if job["type"] not in ("commit", "backup"):
        return job
    return {key: value for key, value in job.items() if key not in _PROGRESS}


def without_sizes(outcome: Sequence[Any]) -> Sequence[Any]:
    """A command's outcome without clocks, and with a machine state's size as whether there is one."""
    if not isinstance(outcome[1], dict):
        return outcome
    kept = {key: value for key, value in outcome[1].items() if key not in _VOLATILE}
    if "vm-state-size" in kept:
        kept["vm-state-size"] = kept["vm-state-size"] > 0
    return [outcome[0], kept]


def only_what_differs(one: Any, other: Any) -> tuple[Any, Any]:
    """Of two lists of one length the members that differ, else both."""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        unequal = [(a, b) for a, b in zip(one, other, strict=True) if a != b]
        return [a for a, _ in unequal], [b for _, b in unequal]
    return one, other
