"""What of a run is still there when all of it should be undone: in the VM, and as files."""

from __future__ import annotations

from collections.abc import Iterator

from planner.errors import Problem
from planner.model.facts import Disk, Facts
from planner.parts.kinds import MAKERS
from planner.program.program import Program
from planner.program.resolution import temporary_path

__all__ = ["differences", "file_left", "files_of"]


def files_of(program: Program) -> tuple[str, ...]:
    """Every file that a run of a program may make, temporary ones too."""
    paths = [path for making in MAKERS for path in making.files(program.resolution)]
    return tuple(name for path in paths for name in (path, temporary_path(path)))


def file_left(path: str) -> Problem:
    """A file that is still there."""
    return Problem("file-left", path, "the run made it, and it is still there", "remove it")


def differences(before: Facts, after: Facts) -> Iterator[Problem]:
    """What a VM shows that it did not show before; nothing: it is as it was."""
    known = {disk.name: disk for disk in before.disks}
    for disk in after.disks:
        was = known.get(disk.name)
        if was is None:
            text = "this node was not there before"
            yield Problem("overlay-left", disk.name, text, "take it out with blockdev-del")
            continue
        yield from _parts_left(was, disk)
        if _chain(was) != _chain(disk):
            text = f"it lies on {disk.filename}, and lay on {was.filename}"
            yield Problem("overlay-left", disk.name, text, "merge it with block-commit")
    if after.run_state != before.run_state:
        text = f"it was {before.run_state!r} and is {after.run_state!r}"
        yield Problem("run-state-changed", "the VM", text)
    yield from _settings(before, after)


def _parts_left(before: Disk, after: Disk) -> Iterator[Problem]:
    held = {(snapshot.id, snapshot.name) for snapshot in before.snapshots}
    for snapshot in after.snapshots:
        if (snapshot.id, snapshot.name) not in held:
            text = f"snapshot {snapshot.name!r} (id {snapshot.id}) is still there"
            yield Problem("part-left", after.name, text, "delete it by id and name")


def _chain(disk: Disk) -> tuple[str, ...]:
    return (disk.filename, *(layer.filename for layer in disk.backing))


def _settings(before: Facts, after: Facts) -> Iterator[Problem]:
    was: dict[str, object] = {**before.capabilities, **before.parameters}
    now: dict[str, object] = {**after.capabilities, **after.parameters}
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            text = f"migration setting {name} was {was.get(name)!r} and is {now.get(name)!r}"
            yield Problem("settings-left", "the VM", text, "set it by hand")
