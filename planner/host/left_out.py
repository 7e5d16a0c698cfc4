"""Looks at the images that a snapshot leaves out: just before it is made, and before it is loaded."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from planner.host.evidence import record_of
from planner.model.facts import Facts
from planner.model.file_record import FileRecord
from planner.parts.left_out_checks import left_out_files
from planner.parts.manifest import Manifest

__all__ = ["look_at_left_out", "with_left_out"]


def with_left_out(facts: Facts, excluded: Iterable[str]) -> Facts:
    """Facts with what the images of the disks that are left out are now.

    It has to be done before the first step: a write after it may be one after the snapshot.
    """
    names = set(excluded)
    wanted = sorted({disk.filename for disk in facts.disks if disk.name in names and disk.attached})
    records = [(file, record_of(file)) for file in wanted]
    return evolve(facts, files=tuple([pair for pair in records if pair[1].known]))


def look_at_left_out(manifest: Manifest, *, local: bool = True) -> dict[str, FileRecord]:
    """What the images that were left out are now; nothing where they are another machine's."""
    return {file: record_of(file) for file in left_out_files(manifest)} if local else {}
