"""Which restores are to be thought of: those that no QEMU uses any more.  Touches nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from planner.collect.throwaways import is_kept_by_its_owner, is_thrown_away
from planner.collect.unneeded import Orphan, OrphanKind
from planner.parts.manifest import Manifest
from planner.store.restore_records import RestoreState
from planner.store.restores import KnownRestore

__all__ = ["restores_left"]


def restores_left(
    known: Sequence[KnownRestore], manifests: Sequence[Manifest] = ()
) -> Iterator[Orphan]:
    """What is left of restores; only what has no file any more may be forgotten without a word."""
    for each in known:
        if is_thrown_away(each, manifests):
            yield _thrown_away(each)
            continue
        restore, files = each.restore, ", ".join(each.there)
        name = shlex.quote(restore.name)
        drop = f"`snapplan restore drop {name}` removes {files}"
        promote = f"`snapplan restore promote {name}` makes them the VM's disks"
        kind, words = OrphanKind.RESTORE_ENDED, f"its QEMU has ended; {promote}, {drop}"
        if each.empty:
            kind, words = OrphanKind.RESTORE_EMPTY, "nothing is left of this restore"
        elif is_kept_by_its_owner(each) or restore.state is RestoreState.SPARE:
            continue
        elif restore.state is RestoreState.MAKING:
            words = f"it was being made when a snapplan died, and no guest has run on it; {drop}"
            kind = OrphanKind.RESTORE_UNFINISHED
        elif restore.state is RestoreState.SET_ASIDE:
            words = f"what the VM wrote before it went back to {restore.tag!r}; {drop}"
            kind = OrphanKind.RESTORE_SET_ASIDE
        elif restore.state is RestoreState.READY:
            words = f"its disks were made ready to be started by hand; {promote}, {drop}"
        elif each.runs is not False:
            continue
        removable = kind is OrphanKind.RESTORE_EMPTY
        yield Orphan(kind, restore.name, words, removable=removable, tag=restore.tag)


def _thrown_away(known: KnownRestore) -> Orphan:
    restore = known.restore
    words = "a spare that no load would take"
    if restore.owner is not None:
        words = "the program that it was started for has ended, and nothing of it was to stay"
    kind = OrphanKind.RESTORE_THROWN_AWAY
    return Orphan(kind, restore.name, words, removable=True, tag=restore.tag)
