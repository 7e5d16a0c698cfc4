"""Recover: finishes or undoes what an interrupted run left, in its QEMU or in its images.

Or gives it up: what somebody has put in order by hand is nobody's unfinished run any more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from attrs import frozen

from planner.errors import CannotConnect, Problem
from planner.recover.forgetting import forget_run
from planner.recover.gone import GoneVm, ImagesOfAnother, check_gone, refuse_unknown
from planner.recover.group_ending import forget_undone_group
from planner.recover.recovery import (
    Link,
    Pending,
    Recovered,
    pending_run,
    pending_runs,
    recover_run,
)
from planner.run.ports import Reporter
from planner.run.pump import HostClock
from planner.run.reporting import telling
from planner.store.finding import is_here
from planner.store.instance import files_of
from planner.store.meeting import Met, Sameness, is_of, meet, sameness
from planner.store.process_locks import locked_names
from planner.store.store import Store, absolute_address
from planner.verbs.context import Awaiting, Context, Offline, Question

__all__ = ["forget", "pending_at", "pending_of", "raise_left", "recover", "recover_unreachable"]


async def recover(context: Context) -> list[Recovered]:
    """Recover the unfinished runs of a VM: those of its identity, and those that were at its address.

    A run is finished where all its steps had been done, else it is undone; where its QEMU is gone, in
    the images.

    Returns:
        What became of each; `Outcome.left` says what could not be undone.

    Raises:
        Refused: Another snapplan is at work, or nothing proves whether its QEMU is gone.
        CannotConnect: The VM does not answer.
    """
    met = await meet(context.backend, context.store, context.address)
    wanted = _pending_of(context, met)

    async def link(run: Pending) -> Link:
        return await _link(run, context, met)

    how = _How(link, met.lock_names, context.reporter, context.awaiting)
    return [done for each in wanted for done in await _one(each, how)]


async def pending_of(context: Context) -> list[Pending]:
    """The unfinished runs that `recover` would end; nothing is changed.

    Raises:
        CannotConnect: The VM does not answer.
    """
    return _pending_of(context, await meet(context.backend, context.store, context.address))


def _pending_of(context: Context, met: Met) -> list[Pending]:
    pending = pending_runs(context.store)
    there = {each.path for each in _at(context.address, pending)}
    return [each for each in pending if each.path in there or _is_of(each, met)]


def raise_left(recovered: Iterable[Recovered]) -> None:
    """Raise what the first run amounts to of which something is left.

    Raises:
        UndoIncomplete, OutcomeUnknown: Something is still there, or cannot be known.
    """
    for each in recovered:
        if each.outcome.left:
            each.outcome.raise_failure()


async def recover_unreachable(
    offline: Offline, address: str, error: CannotConnect
) -> list[Recovered]:
    """Recover the runs of a VM that cannot be connected to, in its images where its QEMU is gone.

    Args:
        offline: The store and the images.
        address: Where the VM was.
        error: Why it cannot be connected to.

    Raises:
        CannotConnect: That is no sign that its QEMU is gone, or nothing is pending; nothing is touched.
        Refused: Nothing proves that its QEMU is gone.
    """
    there = pending_at(offline.store, address)
    if not there:
        raise error
    if error.code != "nobody-listens" or not is_here(there[0].address):
        raise _left_alone(error, there) from error

    async def gone(run: Pending) -> Link:
        images = offline.images
        if run.journal is not None and run.replayed is not None:
            check_gone(run.journal, run.replayed)
            images = offline.keyring.for_run(run.journal.header, images)
        return Link(GoneVm(), images, host=offline.host)

    how = _How(gone, (), offline.reporter, offline.awaiting)
    return [done for each in there for done in await _one(each, how)]


def pending_at(store: Store, address: str) -> list[Pending]:
    """The unfinished runs of the VM that was at an address."""
    return _at(address, pending_runs(store))


def forget(offline: Offline, shown: Sequence[Pending]) -> None:
    """Give runs up for good: their journals go, and what they left stays as it is.

    Args:
        offline: The store, and who is asked.
        shown: The runs, as somebody was shown them; one that has ended meanwhile is no error.

    Raises:
        BadInput: Nobody could be asked (``confirmation-missing``), or a journal cannot be removed.
        Refused: Another snapplan is at work on the VM (``vm-locked``), or has been meanwhile
            (``changed-while-asked``).
    """
    if not shown:
        return
    loss = "this gives the runs up for good"
    offline.consent(Question("recover", loss, "Give these runs up for good?", "add --yes"))
    for each in shown:
        forget_run(each)


def _at(address: str, pending: Sequence[Pending]) -> list[Pending]:
    where = absolute_address(address)
    return [each for each in pending if each.address == where]


def _left_alone(error: CannotConnect, there: Sequence[Pending]) -> CannotConnect:
    problems = tuple(
        Problem("recovery-pending", str(each.path), "the VM cannot be asked; nothing was touched")
        for each in there
    )
    return CannotConnect(
        error.message,
        problems=(*error.problems, *problems),
        code=error.code,
        vm_state="It is as the interrupted run left it, until it can be asked.",
    )


def _is_of(pending: Pending, met: Met) -> bool:
    if pending.journal is None:
        return pending.vm.vm_key == met.vm.vm_key
    return is_of(pending.journal.header, pending.vm.vm_key, met)


async def _link(pending: Pending, context: Context, met: Met) -> Link:
    """What the VM is to a run whose lock is held, now: the QEMU of the run, or another one."""
    backend = context.backend
    now = await met.again(backend)
    journal, replayed = pending.journal, pending.replayed
    closed = backend.images  # those that this QEMU has not open
    if journal is not None and replayed is not None:
        same = Sameness.ANOTHER
        if _is_of(pending, now):
            same = sameness(journal.header, now.instance, now.facts)
        if same is Sameness.SAME:
            return Link(now.backend, backend.images, now.facts, backend.host, context.agents)
        if same is Sameness.UNKNOWN:
            refuse_unknown(journal.header)
        check_gone(journal, replayed, files_of(now.facts), now.instance)
        if closed is not None:
            closed = context.keyring.for_run(journal.header, closed)
    images = ImagesOfAnother(backend, now.facts, closed)
    return Link(GoneVm(), images, host=backend.host)


def _needs_no_vm(pending: Pending) -> bool:
    """Whether a run only has to be recorded: its group has decided, and its VM may be gone since."""
    return pending.replayed is not None and pending.replayed.run.informed(pending.vm).needs_no_vm


@frozen
class _How:
    """How runs are recovered: what is there to be asked of each, and under which locks."""

    link: Callable[[Pending], Awaitable[Link]]
    locks: Sequence[str]
    reporter: Reporter | None
    awaiting: Awaiting


async def _one(pending: Pending, how: _How) -> list[Recovered]:
    """Recover one run under its VM's locks; none where somebody else just did it."""
    teller = telling(how.reporter)
    with locked_names(how.locks), pending.vm.locked():
        now = pending_run(pending.vm, pending.path)
        if now is None:
            return []
        met = Link(GoneVm(), None) if _needs_no_vm(now) else await how.link(now)
        clock = None if met.images is None else HostClock()
        done = await how.awaiting(
            recover_run(now, met, clock=clock, reporter=how.reporter),
            lambda: teller.note("recovery is under way; it ends soon"),
        )
        forget_undone_group(now)
        return [done]
