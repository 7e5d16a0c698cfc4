"""Restore: goes back to a snapshot without a VM that runs, in a fresh QEMU or in the image files.

A QEMU that is started here is ours until its guest runs: where anything fails it is ended, and new
files are taken back.  A tool that starts QEMU itself has the disks made ready first, and gives its QEMU
the machine state then (`restore_into`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import TypeVar

from attrs import evolve, frozen

from planner.errors import InternalError, SnapplanError
from planner.group.membership import check_alone
from planner.host.host_clock import HostClock
from planner.load.fresh_qemu import RestorePlan
from planner.load.recording import RestoreRecord
from planner.load.restored_vm import check_started, run_restored
from planner.load.restoring import Disks
from planner.load.reverting import revert_offline
from planner.load.started import Restored
from planner.load.starting import start_and_use
from planner.model.facts import Facts
from planner.parts.internal import InternalSnapshot
from planner.parts.manifest import Manifest
from planner.recover.pending_images import check_images_free
from planner.run.consent import decide_and_ask
from planner.run.ports import Backend
from planner.run.reporting import telling
from planner.store.current import reverting, set_current
from planner.store.held import met_and_locked
from planner.store.identity import absolute_address
from planner.store.instance import Instance
from planner.store.meeting import meet
from planner.store.store import VmStore
from planner.verbs.context import Context, Offline, Question
from planner.verbs.find import find_in_store, read_again, store_of
from planner.verbs.restore_decision import RestoreDecision, RestoreWish, decide_restore
from planner.verbs.stopped import stopped_by_cancelling

__all__ = [
    "RestoreWish",
    "Restored",
    "Reverted",
    "goes_back_in_a_fresh_qemu",
    "make_ready",
    "restore",
    "restore_into",
    "revert",
    "show_restore",
    "write_down",
]

_Result = TypeVar("_Result")


@frozen
class Reverted:
    """Disks that were reverted in their image files.

    Attributes:
        manifest: The snapshot.
        parts: All of its parts.
    """

    manifest: Manifest
    parts: tuple[InternalSnapshot, ...]


def goes_back_in_a_fresh_qemu(manifest: Manifest) -> bool:
    """Whether a snapshot has parts that no running VM can go back to."""
    return not all(part.read_by_load for part in manifest.parts)


async def show_restore(offline: Offline, source: str, wish: RestoreWish) -> RestorePlan:
    """Decide a restore, and do nothing.

    Args:
        offline: The store and the images.
        source: A tag that the store has, or a manifest's file.
        wish: How.

    Raises:
        BadInput: There is no such manifest, or several VMs have one.
        Refused: It cannot be restored safely, or a VM has an image open.
    """
    found = find_in_store(source, offline.store, offline.vm_name)
    return (await decide_restore(found, store_of(found, offline.store), wish, offline)).plan


async def make_ready(offline: Offline, source: str, wish: RestoreWish) -> RestorePlan:
    """Make the disks of a restore ready; no QEMU is started.

    Returns:
        Which files QEMU is to open, with which arguments (`restore_into` goes on from there).

    Raises:
        BadInput: There is no such manifest, or nobody could be asked.
        Refused: It cannot be restored safely; nothing was made.
        RunFailed: A disk could not be made ready; new files are taken back.
        UndoIncomplete: Some disks are reverted and some are not; the problems say which.
    """

    async def work(doing: _Doing) -> RestorePlan:
        await doing.disks.ready()
        doing.record.made(ready=True)
        return doing.disks.plan

    return await _with_disks(offline, source, evolve(wish, template=""), work, _reverts)


async def restore(offline: Offline, source: str, wish: RestoreWish) -> Restored:
    """Start QEMU from a snapshot; see `make_ready`.

    Raises:
        RunFailed: QEMU did not start or did not take the machine state; it is ended.
    """

    async def work(doing: _Doing) -> Restored:
        return await _run(doing, wish, offline)

    return await _with_disks(offline, source, wish, work, _loses)


async def restore_into(context: Context, plan: RestorePlan, wish: RestoreWish) -> str:
    """Give a QEMU that was started on disks made ready its machine state, and let its guest run.

    Args:
        context: That QEMU, connected; it was started with `RestorePlan.arguments`.
        plan: Of `make_ready`.
        wish: How; its template and its folder are not needed any more.

    Returns:
        The run state.

    Raises:
        Refused: It is not the VM that was saved, or not on the disks that were made ready; it was asked
            questions only.
        RunFailed: It did not take the machine state.  The guest has not run: end that QEMU.
    """
    async with met_and_locked(context.backend, context.store, context.address) as held:
        backend, vm = held.met.backend, held.vm

        async def work() -> str:
            _say_started(context, plan, vm, held.met.instance)
            state = await run_restored(
                plan, backend, wish.run_state_after, wish.deadline_s, context.reporter
            )
            set_current(vm, plan.manifest.lineage)
            return state

        return await stopped_by_cancelling(context, work())


def _say_started(context: Context, plan: RestorePlan, held: VmStore, qemu: Instance) -> None:
    """Record which QEMU has the disks that were made ready, before its guest can write to them."""
    record = RestoreRecord.find(context.store, plan)
    if record is None or record.vm is None:
        return
    with nullcontext() if record.vm == held else record.vm.locked():
        record.starting(absolute_address(context.address))
        if qemu.process is not None:
            record.started(qemu.process.pid)


async def revert(offline: Offline, source: str, wish: RestoreWish) -> Reverted:
    """Revert the disks of a snapshot of disks alone, in the image files; half a revert is of no use.

    Raises:
        BadInput: There is no such manifest.
        Refused: It cannot be loaded safely, or a VM has an image open; nothing was reverted.
        RunFailed: The first disk could not be reverted; nothing was.
        UndoIncomplete: Some disks are reverted and some are not; the problems say which.
    """
    found = find_in_store(source, offline.store, offline.vm_name)
    vm, teller = store_of(found, offline.store), telling(offline.reporter)
    with nullcontext() if vm is None else vm.locked():
        manifest = read_again(found).manifest  # another snapplan may have replaced it meanwhile
        check_alone(vm, manifest, alone=wish.alone)
        check_images_free(offline.store, manifest, vm)
        others = () if vm is None else vm.manifests().found
        disks = revert_offline(
            *(manifest, offline.unlocked(manifest).images, others, offline.reporter, wish.accepted),
            host=offline.host,
            secrets=offline.keyring.secrets,
        )

        async def work() -> Reverted:
            with reverting(vm, manifest.lineage):
                return Reverted(manifest, await disks)

        return await offline.awaiting(
            work(), lambda: teller.note("the disks are being reverted; it ends soon")
        )


@frozen
class _Doing:
    """A restore that is being done: what was decided, its disks, and its record in the store."""

    decided: RestoreDecision
    disks: Disks
    record: RestoreRecord


async def _with_disks(
    offline: Offline,
    source: str,
    wish: RestoreWish,
    use: Callable[[_Doing], Awaitable[_Result]],
    in_place: Callable[[RestorePlan], bool],
) -> _Result:
    """Decide, ask, and do it under the lock of the snapshot's VM; stopped, it takes back what it can."""
    found = find_in_store(source, offline.store, offline.vm_name)
    vm, teller = store_of(found, offline.store), telling(offline.reporter)
    with nullcontext() if vm is None else vm.locked():

        async def decide() -> RestoreDecision:
            # Again, under the lock: another snapplan may have replaced it or taken it away.
            again = read_again(found)
            check_alone(vm, again.manifest, alone=wish.alone)
            return await decide_restore(again, vm, wish, offline)

        decided = await decide_and_ask(
            decide, lambda each: _ask(each.plan, offline), found.manifest.tag
        )
        for what in decided.unproved:
            teller.note(f"not checked: {what}")
        using = offline.unlocked(decided.plan.manifest)
        disks = Disks(decided.plan, using.images, using.host, offline.reporter)

        plan = decided.plan
        record = RestoreRecord.begin(vm, plan, HostClock().now_us() * 1000)
        doing = _Doing(decided, disks, record)

        async def work() -> _Result:
            own = vm if in_place(plan) else None  # else its disks stay what they are
            with reverting(own, plan.manifest.lineage):
                return await used()

        async def used() -> _Result:
            try:
                return await use(doing)
            except asyncio.CancelledError:
                if disks.taken_back is None:
                    raise
                raise disks.taken_back from None  # it says what became of the disks

        try:
            return await stopped_by_cancelling(offline, work())
        except BaseException:
            record.taken_back()
            raise


async def write_down(decided: RestoreDecision, backend: Backend, offline: Offline) -> None:
    """Say in the store what a new VM stands on; where that fails, it runs all the same.

    The lock of the VM that was saved is held.
    """
    plan = decided.plan
    if plan.loses:
        return  # it is the VM that was, and `reverting` says so
    try:
        met = await meet(backend, offline.store, decided.socket)
        vm = met.vm
        if decided.vm is not None and vm.folder == decided.vm.folder:  # its lock is held
            set_current(vm, plan.manifest.lineage)
            return
        async with met_and_locked(backend, offline.store, decided.socket) as held:
            set_current(held.vm, plan.manifest.lineage)
    except SnapplanError as error:
        words = f"which snapshot the new VM stands on is not written down: {error.message}"
        telling(offline.reporter).note(words)


def _reverts(plan: RestorePlan) -> bool:
    return plan.reverts


def _loses(plan: RestorePlan) -> bool:
    return bool(plan.loses)


async def _run(doing: _Doing, wish: RestoreWish, offline: Offline) -> Restored:
    decided, disks, record = doing.decided, doing.disks, doing.record
    plan, words, socket = decided.plan, decided.words, decided.socket
    if offline.launch is None:
        raise InternalError("nobody can start a QEMU here")
    await disks.make()
    record.made(ready=False)

    async def check(backend: Backend) -> Facts:
        return await check_started(plan, backend)

    async def load(backend: Backend) -> str:
        after, deadline_s = wish.run_state_after, wish.deadline_s
        state = await run_restored(plan, backend, after, deadline_s, offline.reporter)
        await write_down(decided, backend, offline)
        return state

    if plan.reverts:
        # What does not come up, or is another machine, must show before an image is given up.
        tried, _ = await start_and_use(offline.launch, words, socket, check, disks)
        tried.end()
        await disks.revert()
    record.starting(socket)
    started, state = await start_and_use(offline.launch, words, socket, load, disks, record.started)
    pid = started.pid
    started.leave()
    return Restored(plan, pid, socket, state)


def _ask(plan: RestorePlan, offline: Offline) -> bool:
    """What a disk holds now goes only with somebody's consent; whether that was asked for."""
    if not plan.loses:
        return False
    names = ", ".join(disk.part.disk for disk in plan.loses)
    loss = f"what {names} holds now is lost"
    question = f"What {names} holds now is lost. Go on?"
    remedy = "add --yes, or --copy-to FOLDER, which loses nothing"
    return offline.consent(Question(plan.manifest.tag, loss, question, remedy))
