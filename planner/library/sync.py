"""The blocking twin of `snapplan.attach`, for tools that have no event loop.

    import snapplan

    with snapplan.sync.attach("/run/vm/snapplan.sock") as vm:
        snapshot = vm.save("before")
        snapshot.load()
        snapshot.delete()

A loop runs in a thread of its own, for as long as the ``with`` lasts.  Ctrl-C in a method undoes what it
had begun; then `KeyboardInterrupt` is raised.  Callbacks are called in that thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from planner.library import kept, restores, stores, templates
from planner.library.attaching import attach as attach_async
from planner.library.kept import list_restores, promote_restore
from planner.library.keys import SecretFiles
from planner.library.loop import once
from planner.library.progress import OnProgress
from planner.library.stores import Folder
from planner.library.sync_clones import Clone, Pool, clone, pool
from planner.library.sync_groups import Group, find_group, plan_group, save_group
from planner.library.sync_snapshot import Snapshot
from planner.library.sync_vm import Attachment, Vm
from planner.load.fresh_qemu import RestorePlan
from planner.load.started import Restored
from planner.model.request import RunStateAfter
from planner.parts.manifest import Manifest
from planner.recover.recovery import Recovered
from planner.store.restores import KnownRestore
from planner.verbs.collect import Collected
from planner.verbs.forget import Forgotten

__all__ = [
    "Attachment",
    "Clone",
    "Pool",
    "Group",
    "Snapshot",
    "Vm",
    "attach",
    "clone",
    "collect",
    "drop_restore",
    "forget_snapshot",
    "list_restores",
    "drop_template",
    "make_template",
    "pool",
    "find_group",
    "plan_group",
    "prepare_restore",
    "promote_restore",
    "recover",
    "restore",
    "save_group",
]


def attach(
    qmp: str | Path, *, store: Folder = None, backend: str = "", address: str = ""
) -> Attachment:
    """Attach to a VM, for as long as a ``with`` lasts; see `snapplan.attach`.

    Args:
        qmp: An address.  A connected client belongs to the loop that it was made in, so it is for
            `snapplan.attach` alone.
        store: The folder of manifests and journals; None: as `snapplan.attach` says.
        backend: The name of the backend that an address is for.
        address: What is recorded as the VM's address; empty: `qmp`.
    """
    return Attachment(attach_async(qmp, store=store, backend=backend, address=address))


def recover(
    address: str | Path,
    *,
    store: Folder = None,
    secrets: SecretFiles | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[Recovered, ...]:
    """Finish or undo what an interrupted run left on a VM; see `snapplan.recover`."""
    return once(stores.recover(address, store=store, secrets=secrets, on_progress=on_progress))


def collect(store: Folder = None, *, dry_run: bool = False) -> Collected:
    """Remove what no snapshot of any VM of a store needs; see `snapplan.collect`."""
    return once(stores.collect(store, dry_run=dry_run))


def drop_restore(
    source: str | Path, *, store: Folder = None, on_progress: OnProgress | None = None
) -> KnownRestore:
    """Remove the files of a restore for good; see `snapplan.drop_restore`."""
    return once(kept.drop_restore(source, store=store, on_progress=on_progress))


def forget_snapshot(
    source: str | Path, *, vm: str = "", even_if_there: bool = False, store: Folder = None
) -> Forgotten:
    """Take the record of a snapshot away that is gone; see `snapplan.forget_snapshot`."""
    return once(kept.forget_snapshot(source, vm=vm, even_if_there=even_if_there, store=store))


def restore(  # noqa: PLR0913 - each is a wish of its own
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
    """Start QEMU from a snapshot, as often as you like; see `snapplan.restore`."""
    return once(
        restores.restore(
            source,
            command,
            qmp=qmp,
            copy_to=copy_to,
            store=store,
            run_state_after=run_state_after,
            accept_changed=accept_changed,
            accept_cpu=accept_cpu,
            secrets=secrets,
            on_progress=on_progress,
            deadline_s=deadline_s,
        )
    )


def make_template(  # noqa: PLR0913 - each is a wish of its own
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
    """Make a snapshot ready for instant restore; see `snapplan.make_template`."""
    return once(
        templates.make_template(
            source,
            command,
            folder=folder,
            qmp=qmp,
            store=store,
            replace=replace,
            accept_changed=accept_changed,
            accept_cpu=accept_cpu,
            on_progress=on_progress,
            deadline_s=deadline_s,
        )
    )


def drop_template(source: str | Path, *, store: Folder = None) -> Manifest:
    """Take a snapshot's template away; see `snapplan.drop_template`."""
    return once(templates.drop_template(source, store=store))


def prepare_restore(  # noqa: PLR0913 - each is a wish of its own
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
    """Make the disks of a snapshot ready for a QEMU of yours; see `snapplan.prepare_restore`."""
    return once(
        restores.prepare_restore(
            source,
            copy_to=copy_to,
            store=store,
            dry_run=dry_run,
            accept_changed=accept_changed,
            accept_cpu=accept_cpu,
            secrets=secrets,
            on_progress=on_progress,
        )
    )
