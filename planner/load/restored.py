"""What lies on a snapshot's frozen images besides its own overlays: the disks that restores made.

An image that is merged into must be what everything that lies on it was made on.  So each of these is
named before anything is merged, with the restore that made it; one that is the running disk is merged
itself, in place of the overlay that the manifest names.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence

from attrs import frozen

from planner.errors import Problem
from planner.model.facts import Facts
from planner.parts.copied import CopiedDisk
from planner.parts.manifest import Manifest
from planner.parts.overlay import FrozenImage
from planner.store.promoting import is_of, promoted, set_aside
from planner.store.restore_records import Restore, RestoreState

__all__ = ["OnRestore", "lying_problems", "on_copies", "on_restore"]


@frozen
class OnRestore:
    """A snapshot as it is where its VM runs on a restore of it.

    Attributes:
        manifest: It names the restore's overlays.
        restores: All of them; of the one that runs, the overlays of before.
        current: The one that the VM runs on, as it is recorded; None: it runs on none.
    """

    manifest: Manifest
    restores: tuple[Restore, ...]
    current: Restore | None = None


def on_restore(manifest: Manifest, restores: Sequence[Restore], facts: Facts | None) -> OnRestore:
    """Look at a snapshot as its VM runs.

    Args:
        manifest: The snapshot as it is recorded.
        restores: Those of the VM.
        facts: The VM; None: it is not running.
    """
    own = [restore for restore in restores if is_of(restore, manifest)]
    tops = set() if facts is None else {disk.filename for disk in facts.disks}
    for current in own:
        overlays = {made.file for made in current.files if made.overlay}
        if current.state is not RestoreState.SET_ASIDE and overlays & tops:
            others = tuple(set_aside(manifest, each) if each is current else each for each in own)
            return OnRestore(promoted(manifest, current), others, current)
    return OnRestore(manifest, tuple(own))


def lying_problems(seen: OnRestore, there: Collection[str]) -> Iterator[Problem]:
    """Why a snapshot's overlays must not be merged into its images: restores lie on these as well.

    Args:
        seen: The snapshot.
        there: Paths at which there is something, of its overlays' folders.
    """
    own = {part.overlay_file for part in seen.manifest.of(FrozenImage)}
    rest = {*there} - own
    for restore in seen.restores:
        for made in restore.files:
            if made.overlay and made.file in rest:
                rest.remove(made.file)
                yield _recorded(restore, made.disk, made.file, made.base, seen.current)
    for part in seen.manifest.parts:
        yield from part.restored_problems(rest)  # made by a snapplan that recorded none


def on_copies(
    manifest: Manifest, restores: Sequence[Restore], there: Collection[str]
) -> Iterator[Problem]:
    """Why a snapshot's copies must not be removed: restores lie on them.

    Args:
        manifest: The snapshot.
        restores: Those of its VM.
        there: Paths at which there is something, of the copies' folders.
    """
    copies = manifest.of(CopiedDisk)
    files, rest = {part.file for part in copies}, {*there}
    for restore in restores:
        for made in restore.files:
            if made.overlay and made.base in files and made.file in rest:
                rest.remove(made.file)
                words = f"{made.file} was made by restore {restore.name!r}, and lies on {made.base}"
                drop = f"`snapplan restore drop {shlex.quote(restore.name)}`, if nobody needs it"
                yield Problem("part-needed", made.disk, words, drop)
    for part in copies:
        yield from part.restored_problems(rest)


def _recorded(
    restore: Restore, disk: str, file: str, base: str, current: Restore | None
) -> Problem:
    name, spelled = restore.name, shlex.quote(restore.name)
    drop = f"`snapplan restore drop {spelled}`, if nobody needs it"
    if restore.state is RestoreState.SET_ASIDE:
        words = (
            f"{file} holds what the guest wrote after {restore.tag!r} until the VM went back, and "
            f"lies on {base} too: a merge would destroy it"
        )
        if current is not None and current.name == name:
            drop = f"`snapplan restore promote {spelled}`, then {drop}"
    else:
        words = (
            f"{file} was made by restore {name!r}, and lies on {base} too: a merge would change it"
        )
        drop += f"; if it is the VM's disk, `snapplan restore promote {spelled}`"
    return Problem("part-needed", disk, words, f"{drop}; or --overlays keep")
