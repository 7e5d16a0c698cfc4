"""Clones: VMs that go on from a snapshot's template, any number of them side by side.

All or none: where one of several does not come up, the others are ended too, and what was made for them
is taken back.  A spare is one whose QEMU waits; the next load by the same line takes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import nullcontext
from typing import Any

from planner.errors import Interrupted, RunFailed, SnapplanError, UndoIncomplete
from planner.run.stopping import to_its_end
from planner.store.restore_records import RestoreState
from planner.template.clone_plan import Cloned
from planner.template.cloning import first_failure
from planner.verbs.clone_wish import CloneWish
from planner.verbs.cloner import Cloner, OneClone, cloner_of
from planner.verbs.context import Offline
from planner.verbs.find import find_in_store

__all__ = ["CloneWish", "clone", "has_template", "keep_spares"]


def has_template(offline: Offline, source: str) -> bool:
    """Whether a snapshot has a template.

    Raises:
        BadInput: There is no such snapshot.
    """
    return find_in_store(source, offline.store, offline.vm_name).manifest.template is not None


async def clone(offline: Offline, source: str, wish: CloneWish) -> tuple[Cloned, ...]:
    """Start clones of a snapshot's template; they go on without us.

    Raises:
        BadInput: There is no such snapshot, or the command line cannot be used.
        Refused: It has no template, or that cannot be used; nothing was made.
        RunFailed: One did not come up: all are ended, and no new file is left.
        UndoIncomplete: The same, and a file is left; the problems say which.
    """

    async def begun(cloner: Cloner) -> list[OneClone]:
        spares = await cloner.spares(wish.count)
        return [*spares, *cloner.begin(wish.count - len(spares))]

    return await _done(offline, source, wish, begun, _whole)


async def keep_spares(offline: Offline, source: str, wish: CloneWish) -> tuple[Cloned, ...]:
    """Start QEMUs that wait, so that the next load by the same line costs the devices' state alone.

    They are recorded, and go on without us; `gc` ends those whose snapshot or template is gone.

    Raises:
        BadInput, Refused, RunFailed, UndoIncomplete: As `clone`.
    """

    async def begun(cloner: Cloner) -> list[OneClone]:
        return cloner.begin(wish.count, RestoreState.SPARE)

    return await _done(offline, source, wish, begun, _waiting)


async def _done(
    offline: Offline,
    source: str,
    wish: CloneWish,
    begun: Callable[[Cloner], Awaitable[list[OneClone]]],
    each: Callable[[Cloner, OneClone], Coroutine[Any, Any, Cloned]],
) -> tuple[Cloned, ...]:
    cloner = cloner_of(offline, source, wish)
    with nullcontext() if cloner.vm is None else cloner.vm.locked():
        # Again, under the lock: another snapplan may have replaced it or taken it away.
        cloner = cloner.again()

        async def work() -> tuple[Cloned, ...]:
            return await _all(cloner, await begun(cloner), each)

        task = asyncio.ensure_future(work())
        return await offline.awaiting(_ended(task), lambda: _cancel(task))


async def _ended(task: asyncio.Future[tuple[Cloned, ...]]) -> tuple[Cloned, ...]:
    try:
        return await task
    except asyncio.CancelledError:
        state = "What had been begun is taken back."
        raise Interrupted("stopped", vm_state=state) from None


def _cancel(task: asyncio.Future[tuple[Cloned, ...]]) -> None:
    task.cancel()


async def _all(
    cloner: Cloner,
    begun: Sequence[OneClone],
    each: Callable[[Cloner, OneClone], Coroutine[Any, Any, Cloned]],
) -> tuple[Cloned, ...]:
    """All of them come up, or none is left."""
    tasks = [asyncio.ensure_future(each(cloner, one)) for one in begun]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()  # those that are done do not mind
        results = await to_its_end(_gathered(tasks))
        failure = first_failure(results)
        if failure is not None:
            await to_its_end(_take_back_all(cloner, begun, failure))
    if failure is not None:
        raise failure
    for one in begun:
        await cloner.leave(one)
    return tuple(done for done in results if isinstance(done, Cloned))


async def _gathered(tasks: Sequence[asyncio.Future[Cloned]]) -> list[Cloned | BaseException]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def _whole(cloner: Cloner, one: OneClone) -> Cloned:
    if one.waiting.backend is None:
        await cloner.ready(one)
    return await cloner.run(one)


async def _waiting(cloner: Cloner, one: OneClone) -> Cloned:
    await cloner.ready(one)
    pid = 0 if one.waiting.started is None else one.waiting.started.pid
    return Cloned(one.waiting.plan, pid, "inmigrate", spare=True)


async def _take_back_all(cloner: Cloner, begun: Sequence[OneClone], failure: BaseException) -> None:
    left = [problem for one in begun for problem in await cloner.take_back(one)]
    if left and isinstance(failure, SnapplanError):
        raise UndoIncomplete(
            failure.message,
            problems=(*failure.problems, *left),
            code=failure.code,
            vm_state="No QEMU of it runs; the snapshot and its template are as they were.",
            left=tuple(left),
        ) from failure
    if isinstance(failure, RunFailed) and not failure.vm_state:
        failure.vm_state = "No QEMU of it runs, and no new file is left."
