"""Collect: finds what no snapshot needs any more, and removes it.

What is removed was looked at under the lock that it is removed under.  A person may be asked in between,
for as long as that takes; no lock is held meanwhile, so that a save at night does not fail because of a
forgotten terminal.  What the answer is about is looked at again: where some of it is no garbage any
more, nothing of that VM is removed.
"""

from __future__ import annotations

from attrs import frozen

from planner.collect.garbage import (
    Garbage,
    agreed_to,
    garbage_of_files,
    garbage_of_vm,
    remove_files,
    remove_makings,
    remove_snapshots,
)
from planner.collect.throwaways import clear_throwaways
from planner.collect.unneeded import Orphan, OrphanKind
from planner.errors import BadInput
from planner.run.consent import changed_while_asked
from planner.run.ports import Host
from planner.store.held import met_and_locked
from planner.store.store import VmStore
from planner.verbs.context import Context, Offline

__all__ = ["Collected", "collect", "look_for_garbage"]


@frozen
class Collected:
    """What was found, and whether it was removed.

    Attributes:
        garbage: A VM each.
        removed: Whether what is removable is gone.
    """

    garbage: tuple[Garbage, ...]
    removed: bool = False

    @property
    def orphans(self) -> tuple[Orphan, ...]:
        """All that was found, of every VM."""
        return tuple(orphan for each in self.garbage for orphan in each.orphans)

    @property
    def removable(self) -> tuple[Orphan, ...]:
        """What is provably snapplan's and of no use."""
        return tuple(orphan for orphan in self.orphans if orphan.removable)


async def look_for_garbage(context: Context | Offline) -> Collected:
    """Find what no snapshot needs any more; nothing is changed.

    Args:
        context: A running VM, for its own; else a store, for those of every VM whose images nobody has
            open.

    Raises:
        CannotConnect: The VM does not answer.
        Refused: Another snapplan is at work on a VM (``vm-locked``).
    """
    if isinstance(context, Context):
        async with met_and_locked(context.backend, context.store, context.address) as held:
            return Collected((await garbage_of_vm(held.met.backend, held.vm, held.met.facts),))
    found = []
    for vm in context.store.vms():
        with vm.locked():
            found.append(await garbage_of_files(vm, context.images))
    return Collected(tuple(found))


async def collect(context: Context | Offline, agreed: Collected | None = None) -> Collected:
    """Remove it: what was begun is done to its end, which is short.

    Args:
        context: As `look_for_garbage` says.
        agreed: What somebody agreed to; None: to whatever is found.

    Returns:
        What was found, and removed where it is removable.

    Raises:
        Refused: What was agreed to is not garbage any more (``changed-while-asked``).
        BadInput: A file cannot be removed (``file-left``, ``store-unwritable``).
        RunFailed: A snapshot cannot be deleted (``part-left``); the guest was not touched.
    """
    if isinstance(context, Context):
        return await context.awaiting(_of_vm(context, agreed), _go_on)
    return await context.awaiting(_of_store(context, agreed), _go_on)


def _go_on() -> None:
    """Nothing of it is undone, and the rest does not take long."""


async def _of_vm(context: Context, agreed: Collected | None) -> Collected:
    async with met_and_locked(context.backend, context.store, context.address) as held:
        met, vm = held.met, held.vm
        only = None if agreed is None else _agreed_of(vm, agreed)
        if agreed is not None and only is None:
            raise changed_while_asked(met.identity.address)  # another VM listens there now
        now = agreed_to(await garbage_of_vm(met.backend, vm, met.facts), only)
        await remove_makings(now, met.backend.host)
        remove_files(now)
        await _clear(now, met.backend.host)
        await remove_snapshots(met.backend, now)
    return Collected((now,), removed=True)


async def _of_store(offline: Offline, agreed: Collected | None) -> Collected:
    collected = []
    for vm in offline.store.vms():
        only = None if agreed is None else _agreed_of(vm, agreed)
        if agreed is not None and only is None:
            continue  # it was not there when somebody was asked
        with vm.locked():
            now = agreed_to(await garbage_of_files(vm, offline.images), only)
            await remove_makings(now, offline.host)
            remove_files(now)
            await _clear(now, offline.host)
            collected.append(now)
    return Collected(tuple(collected), removed=True)


async def _clear(garbage: Garbage, host: Host | None) -> None:
    """End and remove what nobody needs.

    Raises:
        BadInput: A file cannot be removed (``file-left``).
    """
    if any(orphan.kind is OrphanKind.RESTORE_THROWN_AWAY for orphan in garbage.removable):
        left = await clear_throwaways(garbage.vm, host)
        if left:
            raise BadInput(str(left[0]), problems=left, code=left[0].code)


def _agreed_of(vm: VmStore, agreed: Collected) -> Garbage | None:
    return next((each for each in agreed.garbage if each.vm == vm), None)
