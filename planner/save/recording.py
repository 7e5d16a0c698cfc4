"""What a finished run is recorded as: its manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from planner.compile.plan import Plan
from planner.compile.plan_text import plan_to_plain
from planner.model.facts import Disk, Facts
from planner.model.file_record import FileRecord
from planner.model.image_file import FILTERS
from planner.parts.internal import InternalSnapshot
from planner.parts.left_out_checks import left_out_of
from planner.parts.manifest import Manifest
from planner.parts.overlay import FrozenImage
from planner.parts.part import BackingImage, ManifestPart
from planner.parts.stream import MAPPED, PLAIN, StateStream
from planner.program.program import canonical_json
from planner.run.outcome import FrozenPart, Outcome, Part

__all__ = ["manifest_of", "program_digest"]


def program_digest(plan: Plan) -> str:
    """SHA-256 of a plan's program in its canonical JSON."""
    text = canonical_json(plan_to_plain(plan)["program"])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def manifest_of(  # noqa: PLR0913 - what a manifest says
    plan: Plan, facts: Facts, outcome: Outcome, *, address: str, started_ns: int, ended_ns: int
) -> Manifest:
    """The manifest of a run that is done.

    Args:
        plan: What it ran.
        facts: The VM just before.
        outcome: Its end, with every part as the VM showed it.
        address: Where the VM's socket was.
        started_ns: Host's wall clock when it began.
        ended_ns: The same when the VM had shown the last part.
    """
    program = plan.program
    return Manifest(
        tag=program.resolution.tag,
        design=program.design,
        program_digest=program_digest(plan),
        qemu=facts.qemu,
        machine=facts.machine,
        memory_bytes=facts.memory_bytes,
        hardware=facts.hardware,
        added=facts.devices if facts.hardware is not None else (),
        parts=tuple(sorted(_parts(outcome, {disk.name: disk for disk in facts.disks}))),
        target=facts.target,
        vm=facts.vm_uuid or facts.vm_name,
        address=address,
        devices=tuple(sorted((disk.name, disk.qdev) for disk in facts.disks if disk.qdev)),
        started_ns=started_ns,
        ended_ns=ended_ns,
        excluded=program.resolution.excluded,
        outside=program.resolution.outside,
        left_out=tuple(left_out_of(program.resolution.excluded, facts)),
    )


def _parts(outcome: Outcome, disks: Mapping[str, Disk]) -> Iterator[ManifestPart]:
    yield from (_internal(part, disks[part.disk]) for part in outcome.parts)
    yield from (_overlay(part, disks[part.disk]) for part in outcome.frozen)
    if outcome.stream is not None:
        stream = outcome.stream
        yield StateStream(
            file=stream.filename,
            format=MAPPED if stream.mapped else PLAIN,
            vm_state_size_bytes=stream.size_bytes,
            record=FileRecord(sha256=stream.sha256),
        )


def _backing(disk: Disk) -> tuple[BackingImage, ...] | None:
    """The images under a disk's own; None: a filter is among them, and hides what is below it."""
    if any(layer.driver in FILTERS for layer in disk.backing):
        return None
    return tuple(BackingImage(layer.filename, layer.driver) for layer in disk.backing)


def _overlay(part: FrozenPart, disk: Disk) -> FrozenImage:
    return FrozenImage(
        disk=part.disk,
        qdev=disk.qdev,
        node=disk.node,
        root=disk.root,
        file=part.filename,
        format=part.format,
        overlay=part.overlay,
        overlay_file=part.overlay_file,
        virtual_size_bytes=disk.virtual_size_bytes,
        backing=_backing(disk),
    )


def _internal(part: Part, disk: Disk) -> InternalSnapshot:
    return InternalSnapshot(
        disk=part.disk,
        qdev=disk.qdev,
        node=disk.node,
        root=disk.root,
        file=part.filename,
        format=disk.driver,
        snapshot_id=part.snapshot.id,
        vm_clock_ns=part.snapshot.vm_clock_ns,
        vm_state_size_bytes=part.snapshot.vm_state_size_bytes,
        virtual_size_bytes=disk.virtual_size_bytes,
        backing=_backing(disk),
    )
