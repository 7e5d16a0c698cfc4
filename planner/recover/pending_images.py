"""Refuses work on images that a run which has not ended concerns, whichever VM's run it is.

What works without a VM sees only files, and a half-done run's files look like any others: a delete that
was killed has parts that can still be loaded, and overlays that are merged already.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from planner.errors import Problem, Refused, SnapplanError
from planner.model.facts_text import facts_from_plain
from planner.parts.manifest import Manifest
from planner.recover.recovery import Pending, pending_runs
from planner.store.store import Store, VmStore

__all__ = ["check_images_free"]


def check_images_free(store: Store, manifest: Manifest, own: VmStore | None) -> None:
    """Refuse a snapshot while a run is pending on its VM, or on an image that it names.

    Args:
        store: Where runs are recorded.
        manifest: The snapshot.
        own: Its VM's share of the store; None: it is not known.

    Raises:
        Refused: With a problem for each run (``recovery-pending``).
    """
    wanted = set(_keys(manifest.files))
    problems = []
    for pending in pending_runs(store):
        same_vm = own is not None and pending.vm.vm_key == own.vm_key
        if same_vm or wanted & set(_keys(_files_of(pending))):
            problems.append(_problem(pending))
    if problems:
        raise Refused(
            f"a run that did not end concerns the images of {manifest.tag!r}",
            problems=tuple(problems),
            code="recovery-pending",
        )


def _problem(pending: Pending) -> Problem:
    what = "an earlier run" if pending.replayed is None else pending.replayed.run.what
    where = pending.address or "ADDR"
    remedy = f"run `snapplan recover --vm {where}` first"
    return Problem("recovery-pending", str(pending.path), f"{what} did not end", remedy)


def _files_of(pending: Pending) -> Iterator[str]:
    """The files that a run may have changed: every image of its VM, and what it makes or removes."""
    if pending.journal is None:
        return
    try:
        facts = facts_from_plain(dict(pending.journal.header.facts), str(pending.path))
    except SnapplanError:
        return
    for disk in facts.disks:
        yield disk.filename
        yield from (layer.filename for layer in disk.backing)
    if pending.replayed is not None:
        yield from pending.replayed.run.files()


def _keys(files: Iterable[str]) -> Iterator[object]:
    """What a file is known by: its real path, and the file itself, where it is there."""
    for file in filter(None, files):
        yield os.path.realpath(file)
        try:
            found = Path(file).stat()
        except OSError:
            continue
        yield found.st_dev, found.st_ino
