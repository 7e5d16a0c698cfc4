"""Looks after images that a snapshot has frozen, and that something else is about to use or change.

A frozen image is a part: whatever is written to it afterwards tears its snapshot.  A QEMU that is
started by its command line of before writes to it again.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from planner.errors import Problem, Refused, in_order
from planner.host.evidence import look_at_files, record_of
from planner.model.facts import Facts
from planner.model.file_record import FileRecord
from planner.parts.file_checks import file_problems, recorded_files
from planner.parts.left_out_checks import left_out_files
from planner.parts.manifest import Manifest
from planner.parts.overlay import FrozenImage
from planner.parts.recorded_files import evidence_of_change
from planner.store.store import VmStore

if TYPE_CHECKING:
    from planner.compile.plan import Plan

__all__ = ["check_bases", "check_reverted", "own_writes"]


def check_bases(vm: VmStore, plan: Plan, facts: Facts) -> None:
    """Refuse a plan for disks whose guest writes to an image that another snapshot has frozen.

    An image that nobody has written to since may be frozen once more; it must not get an internal
    snapshot, which would be written into it.

    Args:
        vm: The VM's share of the store, locked.
        plan: What is about to be run.
        facts: The VM now; its files are this machine's.

    Raises:
        Refused: With one problem for each such image (``base-changed``, ``part-needed``).
    """
    resolution = plan.program.resolution
    overlays = {overlay.disk for overlay in resolution.overlays}
    used = overlays | {part.disk for part in resolution.internal}
    frozen = list(_frozen(vm, resolution.tag, facts, used))
    _refuse(
        [
            *(_torn(each) for each in frozen if each.changed),
            *(
                _needed(each, "an internal snapshot would be written into")
                for each in frozen
                if each.unchanged and each.disk not in overlays
            ),
        ]
    )


def check_reverted(vm: VmStore, manifest: Manifest, facts: Facts) -> None:
    """Refuse a load by a VM that was started on an image that another snapshot has frozen.

    Where somebody has written to that image already, there is nothing left to lose.

    Args:
        vm: The VM's share of the store, locked.
        manifest: What is about to be loaded.
        facts: The VM now; its files are this machine's.

    Raises:
        Refused: With one problem for each such image (``part-needed``).
    """
    used = {part.disk for part in manifest.parts if not part.external}
    frozen = _frozen(vm, manifest.tag, facts, used)
    _refuse([_needed(each, "the load would revert") for each in frozen if each.unchanged])


@frozen
class _Frozen:
    """An image that a guest writes to, and that a snapshot has frozen.

    Attributes:
        disk: The disk, as it is called now.
        tag: The snapshot's.
        part: The image as its part.
        changed: Whether somebody has written to it since; that it was not is known of `unchanged`.
    """

    disk: str
    tag: str
    part: FrozenImage
    changed: bool

    @property
    def unchanged(self) -> bool:
        return self.part.record.known and not self.changed


def _frozen(vm: VmStore, tag: str, facts: Facts, used: set[str]) -> Iterator[_Frozen]:
    active = {disk.filename: disk.name for disk in facts.disks if disk.name in used}
    for manifest in vm.manifests().found:
        parts = [part for part in manifest.of(FrozenImage) if part.file in active]
        if not parts or manifest.tag == tag:
            continue
        looked = look_at_files(manifest, only=active)
        changed = {problem.subject for problem in file_problems(manifest, looked)}
        for part in parts:
            yield _Frozen(active[part.file], manifest.tag, part, part.disk in changed)


def _torn(frozen: _Frozen) -> Problem:
    return Problem(
        "base-changed",
        frozen.disk,
        f"the guest writes to {frozen.part.file}, which is frozen as a part of {frozen.tag!r}: that "
        "snapshot cannot be restored any more",
        f"start QEMU on {frozen.part.overlay_file}, if its content is the one that counts; else "
        f"`snapplan delete {shlex.quote(frozen.tag)} --overlays keep`, and apply again",
    )


def _needed(frozen: _Frozen, what: str) -> Problem:
    return Problem(
        "part-needed",
        frozen.disk,
        f"{what} {frozen.part.file}, which is frozen as a part of {frozen.tag!r}",
        f"start QEMU on {frozen.part.overlay_file}, or delete that snapshot first",
    )


def _refuse(problems: list[Problem]) -> None:
    if problems:
        message = "a disk's image is frozen as a part of another snapshot"
        first = in_order(problems)
        raise Refused(message, problems=first, code=first[0].code)


@contextmanager
def own_writes(vm: VmStore | None, files: Iterable[str], tag: str) -> Iterator[None]:
    """Around a change of ours to images that a snapshot may have frozen, and that it survives.

    Deleting an internal snapshot writes to its image and changes nothing of what a disk holds.  The
    records of an image that is what it was, also where it was left out, are taken out before, and made
    anew afterwards; who dies in between leaves a manifest that says that nothing was recorded.

    Args:
        vm: The VM's share of the store, locked; None: nobody's.
        files: The images.
        tag: Of the snapshot that is deleted: its record goes anyway.
    """
    names = set(files)
    was = [] if vm is None or not names else _recording(vm, names, tag)
    for manifest in was:
        _write(vm, manifest, names, {})
    try:
        yield
    finally:
        _renew(vm, was, names)


def _renew(vm: VmStore | None, was: list[Manifest], names: set[str]) -> None:
    for manifest in was:
        digested = {each.file for each in recorded_files(manifest) if each.record.sha256}
        now = {file: record_of(file, digest=file in digested) for file in names}
        _write(vm, manifest, names, now)


def _recording(vm: VmStore, names: set[str], tag: str) -> list[Manifest]:
    """The other manifests that have recorded one of these files, and find all of them as they were."""
    found = []
    for manifest in vm.manifests().found:
        recorded = {each.file for each in recorded_files(manifest)} | {*left_out_files(manifest)}
        if manifest.tag == tag or not recorded & names:
            continue
        now = look_at_files(manifest, only=names)
        left_out = [one for one in manifest.left_out if one.record.known and one.file in names]
        written = any(evidence_of_change(one.record, record_of(one.file)) for one in left_out)
        if not written and not any(file_problems(manifest, now)):
            found.append(manifest)
    return found


def _write(
    vm: VmStore | None, manifest: Manifest, names: set[str], records: dict[str, FileRecord]
) -> None:
    def look(file: str, was: FileRecord, *, content: bool = True) -> FileRecord:  # noqa: ARG001
        return records.get(file, FileRecord()) if file in names and was.known else was

    parts = tuple(part.renewed(look) for part in manifest.parts)
    left_out = tuple(evolve(one, record=look(one.file, one.record)) for one in manifest.left_out)
    if vm is not None:
        vm.write(evolve(manifest, parts=parts, left_out=left_out))
