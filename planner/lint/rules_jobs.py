"""Findings about snapshot jobs, and about loading: a job's reply says nothing of its outcome."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from planner.lint.moment import FIRST, Memory, Moment, Rule, SequenceJob, words_in
from planner.lint.program import Finding, Said
from planner.model.migration import SPOILS
from planner.semantics import Node, snapshot_node

__all__ = ["RULES", "at_the_end", "note_event"]

_JOBS = ("snapshot-save", "snapshot-load", "snapshot-delete", "blockdev-create")
_WELL_FORMED = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")  # fact 3
_LOOKS = ("query-named-block-nodes", "query-block", "query-blockstats")


def note_event(at: Moment, said: Said) -> None:
    """Take an event of a recording as a look at the job."""
    if said.event == "MIGRATION":
        at.memory.migrate = None
    job = at.memory.jobs.get(str(said.data.get("id")))
    if said.event == "JOB_STATUS_CHANGE" and job and said.data.get("status") == "concluded":
        job.seen = True


def _arguments(at: Moment) -> Iterator[Finding]:
    if at.execute not in _JOBS:
        return
    job_id = at.text("job-id")
    if not _WELL_FORMED.fullmatch(job_id):
        yield at.finding(
            "job-id-malformed",
            f"QEMU refuses the job id {job_id!r} (fact 3)",
            "begin it with a letter, and use letters, digits, '.', '_' and '-' only",
        )
    others = {job.id for job in at.stage.facts.jobs} if at.stage.facts is not None else set()
    earlier = at.memory.jobs.get(job_id)
    if job_id in others or (earlier and not earlier.dismissed):
        yield at.finding(
            "job-id-reused",
            f"job {job_id!r} is there until it is dismissed, also when it has failed (fact 1)",
            "job-dismiss the first one, once it is concluded",
        )
    vmstate, devices = at.command.arguments.get("vmstate"), at.command.arguments.get("devices")
    if isinstance(vmstate, str) and isinstance(devices, list) and vmstate not in devices:
        yield at.finding(
            "vmstate-not-in-devices",
            f"{vmstate!r} is not in devices: the job fails (fact 5)",
            f"add {vmstate!r} to devices",
        )


def _left_on(at: Moment) -> Iterator[Finding]:
    """What somebody set for a migration, and a save or a load heeds."""
    if at.execute not in ("snapshot-save", "snapshot-load"):
        return
    for name in sorted(at.state.capabilities & SPOILS.keys()):
        yield at.finding(
            "known-settings",
            f"the migration capability {name} is on: {SPOILS[name]} (fact 64)",
            "switch it off with migrate-set-capabilities, and on again afterwards",
        )


def _waiting(at: Moment) -> Iterator[Finding]:
    """What comes before the end of a job was looked for."""
    if at.execute == "query-jobs":
        for job in at.memory.jobs.values():
            job.seen = True
        return
    if at.execute == "job-dismiss":
        yield from _dismissal(at)
        return
    if at.execute.startswith(("query-", "x-debug-query", "qmp_", "human-")):
        return
    for job in at.memory.jobs.values():
        if job.makes and not job.makes & set(words_in(at.command.arguments)):
            continue
        if not (job.seen or job.told or job.dismissed):
            job.told = True
            yield at.finding(
                "outcome-seen",
                f"it is sent before the {job.command.execute} of line {job.command.line} is seen "
                "concluded: the reply of that command says nothing of its outcome (facts 1 and 2)",
                "wait for JOB_STATUS_CHANGE concluded, ask query-jobs for its error, then go on",
            )


def _dismissal(at: Moment) -> Iterator[Finding]:
    job = at.memory.jobs.get(at.text("id"))
    if job is None:
        return
    if not job.seen:
        job.told = True
        yield at.finding(
            "outcome-seen",
            f"no query asks how job {at.text('id')!r} ended, and job-dismiss deletes its error "
            "(fact 1)",
            "ask query-jobs before job-dismiss",
        )
    job.dismissed = True


def _loading(at: Moment) -> Iterator[Finding]:
    if at.execute != "snapshot-load":
        return
    if at.state.running and not at.memory.looked:
        yield at.finding(
            "load-unchecked",
            "a load that fails leaves the guest stopped in restore-vm, disks perhaps half reverted "
            "(facts 18 and 20); no query checks first that every disk holds the snapshot",
            "ask query-named-block-nodes before, and compare tag, id and vm-clock on every disk",
        )
    tag = at.text("tag")
    clocks: dict[int, list[str]] = {}
    for target in at.targets():
        image = snapshot_node(at.state.graph, target.node) if target.node else None
        for snapshot in image.layer.snapshots if image else ():
            if snapshot.name == tag:
                clocks.setdefault(snapshot.instant, []).append(target.name)
    if len(clocks) > 1:
        parts = "; ".join(", ".join(names[:FIRST]) for names in clocks.values())
        yield at.finding(
            "one-instant",
            f"{tag!r} is of different instants on these disks: {parts} (facts 15 and 19)",
            "load only parts with one vm-clock",
        )
    yield from _omitted(at, tag)


def _omitted(at: Moment, tag: str) -> Iterator[Finding]:
    named = {target.node.name for target in at.targets() if target.node is not None}
    images = {image.name for name in named if (image := _image_of(at, name)) is not None}
    others = [
        node.name
        for node in at.state.graph.nodes
        if node.name not in named | images and tag in {s.name for s in node.layer.snapshots}
    ]
    if others:
        yield at.finding(
            "tag-on-some-disks",
            f"{', '.join(others[:FIRST])} hold {tag!r} too and are not loaded: they stay as they "
            "are (fact 19)",
            "list every disk that the snapshot was made of",
        )


def _image_of(at: Moment, name: str) -> Node | None:
    node = at.state.graph.get(name)
    return snapshot_node(at.state.graph, node) if node is not None else None


def _after_failure(at: Moment) -> Iterator[Finding]:
    if at.execute == "cont" and at.memory.failed_load:
        yield at.finding(
            "cont-after-failed-load",
            f"the load of line {at.memory.failed_load} failed: {at.memory.torn}; QEMU takes this cont "
            "all the same, and the guest runs on that (facts 18 and 20)",
            "load a whole snapshot before cont",
        )
    if at.execute in _LOOKS:
        at.memory.looked = True


def _begin(at: Moment) -> Iterator[Finding]:
    if at.execute == "migrate":
        at.memory.migrate = at.command
    elif at.execute == "query-migrate":
        at.memory.migrate = None
    if at.execute in _JOBS:
        at.memory.jobs[at.text("job-id")] = SequenceJob(at.command, makes=_made_by(at))
    return iter(())


def _made_by(at: Moment) -> frozenset[str]:
    """What a `blockdev-create` makes: a file, or an image in a node."""
    options = at.arguments.get("options")
    if at.execute != "blockdev-create" or not isinstance(options, Mapping):
        return frozenset()
    return frozenset(str(options[key]) for key in ("filename", "file") if key in options)


def at_the_end(memory: Memory) -> Iterator[Finding]:
    """Findings about jobs that were never looked at or never dismissed, and migrations likewise."""
    if memory.migrate is not None:
        yield Finding(
            memory.migrate.line,
            "outcome-seen",
            memory.migrate.execute,
            "no query checks that the migration completes: the command returns before it does",
            "poll query-migrate, or wait for MIGRATION completed",
        )
    for name, job in memory.jobs.items():
        command = job.command
        if not job.seen and not job.told and not job.dismissed:
            yield Finding(
                command.line,
                "outcome-seen",
                command.execute,
                f"the sequence does not wait for job {name!r}: that the command returns says nothing of "
                "its outcome (facts 1 and 2)",
                "wait for JOB_STATUS_CHANGE concluded, then ask query-jobs for its error",
            )
        if not job.dismissed:
            yield Finding(
                command.line,
                "job-not-dismissed",
                command.execute,
                f"job {name!r} is never dismissed: it stays, and its id cannot be used again (fact 1)",
                "job-dismiss it once it is concluded",
            )


RULES: tuple[Rule, ...] = (_waiting, _arguments, _left_on, _loading, _after_failure, _begin)
