"""Going back to a snapshot in a fresh QEMU: one that is started here, or one that the tool starts.

A launcher that starts QEMU itself has the disks made ready, starts it on these, and gives it its state::

    plan = await snapplan.prepare_restore("before")
    start_my_qemu(disks={disk.part.disk: disk.file for disk in plan.disks}, more=plan.arguments)
    async with snapplan.attach(socket) as vm:
        await vm.restore(plan)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from backends.copies import RestoringHost
from backends.images import QemuImages
from backends.launch import launch
from planner.library.keys import SecretFiles, keyring
from planner.library.progress import OnProgress, ProgressReporter
from planner.library.stores import Folder, store_at
from planner.load.fresh_qemu import RestorePlan
from planner.load.started import Restored
from planner.model.request import RunStateAfter
from planner.parts.accepting import Accepted
from planner.verbs.context import Offline
from planner.verbs.restore import make_ready, show_restore
from planner.verbs.restore import restore as restore_in_qemu
from planner.verbs.restore_decision import RestoreWish

__all__ = ["prepare_restore", "restore"]


async def restore(  # noqa: PLR0913 - each is a wish of its own
    source: str | Path,
    command: str | Sequence[str],
    *,
    qmp: str | Path = "",
    copy_to: str | Path = "",
    store: Folder = None,
    run_state_after: RunStateAfter | str = RunStateAfter.AS_BEFORE,
    accept_changed: Iterable[str] = (),
    accept_cpu: bool = False,
    secrets: SecretFiles | None = None,
    on_progress: OnProgress | None = None,
    deadline_s: float | None = None,
) -> Restored:
    """Start QEMU from a snapshot, as often as you like: nothing that it consists of is written again.

    Args:
        source: A tag that the store has, or a manifest's file.
        command: QEMU's command line, as words or as a line that is split into words: with
            ``{disk:NAME}``, ``{format:NAME}`` and ``{qmp}`` where images, their formats and the socket
            go.  No shell is used.
        qmp: Where the new QEMU is to listen; empty: where the old one did.
        copy_to: A folder for copies of images that would else be reverted; empty: what they hold now
            is lost.
        store: Where the snapshot is recorded.
        run_state_after: ``paused``, or else the guest runs.
        accept_changed: Disks that were left out of it and may have changed since.
        accept_cpu: Whether the processor may be another one.
        secrets: Files that hold the keys of encrypted images, by the id that QEMU has for each secret.
        on_progress: Called with what is being done.
        deadline_s: How long QEMU may take to read its state, in seconds; None: an hour.

    Returns:
        The QEMU: its pid, its socket, and what it does.  It goes on without this program.

    Raises:
        BadInput: There is no such manifest, or the command line cannot be used.
        Refused: It cannot be restored safely; nothing was made.
        RunFailed: QEMU did not start or did not take the state: it is ended, and no new file is left.
        UndoIncomplete: A disk was reverted, or a file is left; the problems say which.
    """
    template = command if isinstance(command, str) else tuple(command)
    wish = RestoreWish(
        template,
        str(qmp),
        _folder(copy_to),
        RunStateAfter(run_state_after),
        deadline_s,
        Accepted(accept_cpu, frozenset(accept_changed)),
    )
    return await restore_in_qemu(_offline(store, on_progress, secrets), str(source), wish)


async def prepare_restore(  # noqa: PLR0913 - each is a wish of its own
    source: str | Path,
    *,
    copy_to: str | Path = "",
    store: Folder = None,
    dry_run: bool = False,
    accept_changed: Iterable[str] = (),
    accept_cpu: bool = False,
    secrets: SecretFiles | None = None,
    on_progress: OnProgress | None = None,
) -> RestorePlan:
    """Make the disks of a snapshot ready for a QEMU that the tool starts itself.

    Args:
        source: A tag that the store has, or a manifest's file.
        copy_to: As `restore` says.
        store: Where the snapshot is recorded.
        dry_run: Whether it is decided only, and nothing made.
        accept_changed: Disks that were left out of it and may have changed since.
        accept_cpu: Whether the processor may be another one.
        secrets: Files that hold the keys of encrypted images, by the id that QEMU has for each secret.
        on_progress: Called with what is being done.

    Returns:
        For each disk its file and format (`RestorePlan.disks`), and what QEMU's command line needs
        besides (`RestorePlan.arguments`).  `Vm.restore` goes on from there.

    Raises:
        BadInput: There is no such manifest.
        Refused: It cannot be restored safely, or a VM has an image open; nothing was made.
        RunFailed: A disk could not be made ready; no new file is left.
        UndoIncomplete: A disk was reverted, or a file is left; the problems say which.
    """
    accepted = Accepted(accept_cpu, frozenset(accept_changed))
    wish = RestoreWish(copies=_folder(copy_to), accepted=accepted)
    return await (show_restore if dry_run else make_ready)(
        _offline(store, on_progress, secrets), str(source), wish
    )


def _folder(copy_to: str | Path) -> str:
    return os.path.realpath(copy_to) if copy_to else ""


def _offline(store: Folder, on_progress: OnProgress | None, secrets: SecretFiles | None) -> Offline:
    reporter = None if on_progress is None else ProgressReporter(on_progress)
    ring = keyring(secrets)
    return Offline(
        store_at(store), QemuImages(), RestoringHost(), reporter, launch=launch, keyring=ring
    )
