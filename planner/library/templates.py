"""Snapshots made ready for instant restore, without the VM that they are of."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from backends.copies import RestoringHost
from backends.images import QemuImages
from backends.launch import launch
from planner.library.progress import OnProgress, ProgressReporter
from planner.library.stores import Folder, store_at
from planner.parts.accepting import Accepted
from planner.parts.manifest import Manifest
from planner.verbs.context import Offline
from planner.verbs.template import TemplateWish
from planner.verbs.template import drop_template as drop
from planner.verbs.template import make_template as make

__all__ = ["drop_template", "make_template"]


async def make_template(  # noqa: PLR0913 - each is a wish of its own
    source: str | Path,
    command: str | Sequence[str],
    *,
    folder: str | Path = "",
    qmp: str | Path = "",
    store: Folder = None,
    replace: bool = False,
    accept_changed: Iterable[str] = (),
    accept_cpu: bool = False,
    on_progress: OnProgress | None = None,
    deadline_s: float | None = None,
) -> Manifest:
    """Make a snapshot with machine state ready for instant restore, as often as you like.

    A QEMU reads the snapshot once into files, on throw-away overlays and without its guest running; the
    snapshot is never opened for writing, and its VM may run on.  Parts inside an image are copied: no VM
    may have that image open.

    Args:
        source: A tag that the store has, or the manifest's file in it.
        command: The VM's command line, as words or as a line that is split into words: with
            ``{disk:NAME}``, ``{format:NAME}`` and ``{qmp}`` where images, their formats and the socket
            go.  No shell is used.
        folder: Where the template's files are to be; empty: beside the machine state.
        qmp: Where the QEMU that makes it listens; empty: in a folder of snapplan's own.
        store: Where the snapshot is recorded.
        replace: Whether a template that is there goes when the new one is complete.
        accept_changed: Disks that were left out of the snapshot and may have changed since.
        accept_cpu: Whether the processor may be another one.
        on_progress: Called with each step before it is done.
        deadline_s: How long QEMU may take to read the state, in seconds; None: an hour.

    Returns:
        The snapshot's record with its template (`Manifest.template`).

    Raises:
        BadInput: It is in no store, or the command line cannot be used; nothing was made.
        Refused: It can have no template, has one, or the QEMU is another VM; nothing is left.
        RunFailed: QEMU or the host failed; nothing is left, and the snapshot is as it was.
        UndoIncomplete: The same, and a file is left that `collect` removes.
    """
    wish = TemplateWish(
        command if isinstance(command, str) else tuple(command),
        _absolute(folder),
        str(qmp),
        replace,
        deadline_s,
        Accepted(accept_cpu, frozenset(accept_changed)),
    )
    return await make(_offline(store, on_progress), str(source), wish)


async def drop_template(source: str | Path, *, store: Folder = None) -> Manifest:
    """Take a snapshot's template away; the snapshot stays.

    Returns:
        The snapshot's record without it.

    Raises:
        BadInput: There is no such manifest, or it has no template.
        Refused: A QEMU has a file of it open, or a restore lies on it (``template-in-use``).
    """
    return await drop(_offline(store, None), str(source))


def _absolute(folder: str | Path) -> str:
    return os.path.realpath(folder) if folder else ""


def _offline(store: Folder, on_progress: OnProgress | None) -> Offline:
    reporter = None if on_progress is None else ProgressReporter(on_progress)
    return Offline(store_at(store), QemuImages(), RestoringHost(), reporter, launch=launch)
