"""QMP replies into facts, believing nothing that was not checked.

Every value is looked at before it is used: a peer that answers in another shape gets one clear error,
never a traceback and never a guess.
"""

from __future__ import annotations

from attrs import frozen

from planner.model.answer import AnswerObject, answer_objects
from planner.model.facts import (
    JobInfo,
    SnapshotInfo,
)

__all__ = [
    "MigrationInfo",
    "job_of",
    "jobs_of",
    "migration_of",
    "run_state_of",
    "snapshots_of",
    "snapshots_of_image",
]

_NS_PER_S = 1_000_000_000


def run_state_of(reply: object) -> str:
    """The run state in an answer to `query-status`."""
    return AnswerObject.of(reply, "query-status").text("status")


def descriptor_sets_of(reply: object) -> tuple[int, ...]:
    """For each descriptor in an answer to `query-fdsets`, the number of its set."""
    return tuple(
        entry.number("fdset-id")
        for entry in answer_objects(reply, "query-fdsets")
        for _ in entry.members("fds")
    )


def jobs_of(reply: object) -> tuple[tuple[JobInfo, str], ...]:
    """The jobs in an answer to `query-jobs`, each with its error (empty: none)."""
    found = []
    for entry in answer_objects(reply, "query-jobs"):
        job = JobInfo(entry.text("id"), entry.text("type"), entry.text("status"))
        found.append((job, entry.text("error", "")))
    return tuple(found)


def job_of(reply: object, job_id: str) -> tuple[JobInfo | None, str]:
    """A job in a reply to `query-jobs`, with its error; None: it is not there."""
    found: tuple[JobInfo | None, str] = (None, "")
    return next((each for each in jobs_of(reply) if each[0].id == job_id), found)


@frozen
class MigrationInfo:
    """What `query-migrate` says of a migration.

    Attributes:
        status: QEMU's word; empty: there was none.
        pages: Pages in the stream: more than 0 only once memory is being written (fact 39).
        remaining_bytes: What is still to be written.
        transferred_bytes: What was written.
        error: QEMU's words on a failure; empty: none.
    """

    status: str
    pages: int = 0
    remaining_bytes: int = 0
    error: str = ""
    transferred_bytes: int = 0


def migration_of(reply: object) -> MigrationInfo:
    """The migration in an answer to `query-migrate`."""
    top = AnswerObject.of(reply, "query-migrate")
    ram = top.member("ram")
    return MigrationInfo(
        status=top.text("status", ""),
        pages=ram.number("normal", 0) + ram.number("duplicate", 0),
        remaining_bytes=ram.number("remaining", 0),
        error=top.text("error-desc", ""),
        transferred_bytes=ram.number("transferred", 0),
    )


def snapshots_of(reply: object) -> dict[str, tuple[SnapshotInfo, ...]]:
    """The snapshots of each node in an answer to `query-named-block-nodes`."""
    what = "query-named-block-nodes"
    nodes = answer_objects(reply, what)
    return {node.text("node-name"): snapshots_in(node.member("image")) for node in nodes}


def snapshots_of_image(info: object) -> tuple[SnapshotInfo, ...]:
    """The snapshots in an image's information, as QMP and ``qemu-img info`` give it."""
    return snapshots_in(AnswerObject.of(info, "the image's information"))


def snapshots_in(image: AnswerObject) -> tuple[SnapshotInfo, ...]:
    """The snapshots in an image's information that was read already."""
    return tuple(
        SnapshotInfo(
            id=entry.text("id"),
            name=entry.text("name"),
            vm_clock_ns=entry.number("vm-clock-sec") * _NS_PER_S + entry.number("vm-clock-nsec"),
            vm_state_size_bytes=entry.number("vm-state-size"),
            date_ns=entry.number("date-sec") * _NS_PER_S + entry.number("date-nsec"),
        )
        for entry in image.members("snapshots")
    )


def optional_text(reply: object, what: str, key: str) -> str:
    """A text of an answer that may lack it, or was not asked for: then it is empty."""
    return "" if reply is None else AnswerObject.of(reply, what).text(key, "")


def vm_name_of(reply: object) -> str:
    """The VM's name in a reply to `query-name`; empty: it has none."""
    return optional_text(reply, "query-name", "name")


def vm_uuid_of(reply: object) -> str:
    """The VM's UUID in a reply to `query-uuid`; empty: none was set."""
    text = optional_text(reply, "query-uuid", "UUID")
    return "" if not text.strip("0-") else text
