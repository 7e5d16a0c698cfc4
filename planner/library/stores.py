"""What is done with a store, and not with a VM that is attached: look, recover, give up, collect."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from backends.guest_agent import GuestAgent
from backends.host import QemuHost
from backends.images import QemuImages
from planner.errors import CannotConnect
from planner.library.keys import SecretFiles, keyring
from planner.library.progress import OnProgress, ProgressReporter
from planner.recover.recovery import Pending, Recovered, pending_runs
from planner.store.finding import find_backend
from planner.store.naming import StoredSnapshots, stored_snapshots
from planner.store.store import Store, default_root
from planner.verbs.collect import Collected, look_for_garbage
from planner.verbs.collect import collect as collect_garbage
from planner.verbs.context import Context, Offline
from planner.verbs.recover import forget as forget_runs
from planner.verbs.recover import pending_at, raise_left, recover_unreachable
from planner.verbs.recover import recover as recover_vm

__all__ = ["Folder", "collect", "forget", "pending", "recover", "store_at", "stored"]

Folder = str | Path | Store | None
"""A store: its folder; None: ``$SNAPPLAN_STORE``, else the user's state folder."""


def store_at(store: Folder) -> Store:
    """The store of a folder; it need not be there yet."""
    if isinstance(store, Store):
        return store
    chosen = store or os.environ.get("SNAPPLAN_STORE")
    return Store(Path(chosen) if chosen else default_root())


def pending(store: Folder = None, *, address: str | Path = "") -> tuple[Pending, ...]:
    """The runs that did not end, of every VM: a killed snapplan, or a killed QEMU.  Touches nothing.

    Args:
        store: The store.
        address: Where a VM was: its runs alone; empty: those of all.

    Raises:
        BadInput: The store cannot be read.
    """
    if address:
        return tuple(pending_at(store_at(store), str(address)))
    return pending_runs(store_at(store))


def stored(store: Folder = None, vm: str = "") -> tuple[StoredSnapshots, ...]:
    """What the store records of each VM, and no VM is asked: its snapshots, and how they hang together.

    Args:
        store: The store.
        vm: The name or UUID of one VM; empty: of all.

    Raises:
        BadInput: No VM is called so, or the store cannot be read.
    """
    return stored_snapshots(store_at(store), vm)


async def recover(
    address: str | Path,
    *,
    store: Folder = None,
    secrets: SecretFiles | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[Recovered, ...]:
    """Finish or undo what an interrupted run left on a VM; where its QEMU is gone, in its images.

    Args:
        address: Where the VM is, or was.
        store: Where its journals are.
        secrets: Files that hold the keys of encrypted images, by the id that QEMU has for each secret.
        on_progress: Called with what is being done.

    Returns:
        What became of each run; empty: nothing was pending.

    Raises:
        CannotConnect: The VM cannot be asked, and nothing is pending; nothing was touched.
        Refused: Another snapplan is at work on it.
        UndoIncomplete, OutcomeUnknown: Something is still there, or cannot be known.
        BadInput: A file of a secret cannot be used (``secret-unusable``).
    """
    where, kept, ring = str(address), store_at(store), keyring(secrets)
    reporter = None if on_progress is None else ProgressReporter(on_progress)
    try:
        connect, place = find_backend(where)
        backend = await connect(place)
        try:
            context = Context(backend, kept, where, GuestAgent, reporter, keyring=ring)
            done = await recover_vm(context)
        finally:
            await backend.close()
    except CannotConnect as error:
        offline = Offline(kept, QemuImages(), QemuHost(), reporter, keyring=ring)
        done = await recover_unreachable(offline, where, error)
    raise_left(done)
    return tuple(done)


def forget(runs: Iterable[Pending], *, store: Folder = None) -> None:
    """Give runs up for good: their journals go, and what they left stays as it is.

    Args:
        runs: As `pending` showed them; one that has ended meanwhile is no error.
        store: Where their journals are.

    Raises:
        Refused: Another snapplan is at work on the VM, or has been since `pending`.
        BadInput: A journal cannot be removed.
    """
    forget_runs(Offline(store_at(store), QemuImages(), QemuHost()), tuple(runs))


async def collect(store: Folder = None, *, dry_run: bool = False) -> Collected:
    """Remove what no snapshot of any VM of a store needs, where nobody has its images open.

    Args:
        store: The store.
        dry_run: Whether it is looked for only.

    Raises:
        Refused: Another snapplan is at work on one of the VMs.
        BadInput: A file cannot be removed.
    """
    offline = Offline(store_at(store), QemuImages(), QemuHost())
    return await (look_for_garbage if dry_run else collect_garbage)(offline)
