"""Clones of a snapshot's template for a program: a VM that is there at once, and gone at the end.

    async with snapplan.pool("base", spares=2) as pool:
        for case in cases:
            async with pool.clone() as vm:            # goes on from the snapshot, on disks of its own
                ...

A clone is this program's: its QEMU dies with it, however it ends, and what is left of its files is
removed by the next `snapplan.collect` (each is recorded before it is made).  A pool keeps QEMUs started
that wait for the devices' state, and starts others in the background as they are taken.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from attrs import define, evolve, field

from backends.copies import RestoringHost
from backends.guest_agent import GuestAgent
from backends.images import QemuImages
from backends.launch import launch_tied
from planner.errors import InternalError, Refused, SnapplanError
from planner.host.processes import process_of
from planner.library.stores import Folder, store_at
from planner.library.vm import Vm
from planner.run.remembering import RememberingBackend
from planner.run.stopping import to_its_end
from planner.store.restore_records import RestoreState
from planner.template.clone_plan import Cloned
from planner.verbs.clone_wish import CloneWish
from planner.verbs.cloner import Cloner, OneClone, cloner_of
from planner.verbs.context import Context, Offline

__all__ = ["Clone", "Pool", "clone", "pool"]

_LOCK_S = 30.0
_LOOK_EACH_S = 0.02
_SOCKETS = "snapplan-qmp-"


def clone(
    source: str | Path,
    command: str | Sequence[str] = "",
    *,
    store: Folder = None,
    folder: str | Path = "",
    paused: bool = False,
) -> Clone:
    """A clone of a snapshot's template, for as long as an ``async with`` lasts.

    Args:
        source: A tag that the store has, or a manifest's file.
        command: QEMU's command line with its places (``{disk:NAME}``, ``{qmp}``, ``{clone}``,
            ``{uuid}``, ``{mac}``); empty: the one that the template was made with, from the store only.
        store: Where the snapshot is recorded.
        folder: Where its overlays are made; empty: beside the VM's own.
        paused: Whether its guest is to stay paused.

    Returns:
        What ``async with`` takes; it yields a `Vm`.  In the end its QEMU is killed and its overlays are
        removed, unless `Clone.keep` was called.

    Raises (on entering):
        BadInput: There is no such snapshot, or the command line cannot be used.
        Refused: It has no template, or a file of that is no longer what it was.
        RunFailed: It did not come up; nothing is left of it.
    """
    return Clone(Pool(_cloner(source, command, store, folder, paused=paused), 0), alone=True)


def pool(  # noqa: PLR0913 - each is a wish of its own
    source: str | Path,
    command: str | Sequence[str] = "",
    *,
    spares: int = 1,
    store: Folder = None,
    folder: str | Path = "",
    paused: bool = False,
) -> Pool:
    """Clones of one template, with QEMUs that wait for the next ones.

    Args:
        source: A tag that the store has, or a manifest's file.
        command: As `clone` says.
        spares: How many QEMUs wait; others are started in the background as these are taken.
        store: Where the snapshot is recorded.
        folder: Where overlays are made; empty: beside the VM's own.
        paused: Whether the guests are to stay paused.

    Returns:
        What ``async with`` takes; on entering it raises what `clone` does.
    """
    return Pool(_cloner(source, command, store, folder, paused=paused), spares)


def _cloner(
    source: str | Path,
    command: str | Sequence[str],
    store: Folder,
    folder: str | Path,
    *,
    paused: bool,
) -> Cloner:
    line = command if isinstance(command, str) else tuple(command)
    made = os.path.realpath(folder) if folder else ""
    wish = CloneWish(line, folder=made, run=not paused, owner=process_of(os.getpid()))
    offline = Offline(store_at(store), QemuImages(), RestoringHost(), launch=launch_tied)
    return cloner_of(offline, str(source), wish)


@define
class Pool:
    """Clones of one template; see `pool`."""

    _cloner: Cloner
    _spares: int
    _sockets: str = field(init=False, default="")
    _waiting: deque[OneClone] = field(init=False, factory=deque)
    _filling: set[asyncio.Task[None]] = field(init=False, factory=set)

    async def __aenter__(self) -> Self:
        """Start the spares, and wait until they wait."""
        self._open()
        try:
            await asyncio.gather(*(self._fill() for _ in range(self._spares)))
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the spares; a clone that is still used ends with its own ``async with``."""
        await self._close()

    def clone(self) -> Clone:
        """The next clone: what ``async with`` takes; see `planner.library.clones.clone`."""
        return Clone(self)

    def _open(self) -> None:
        if self._sockets:
            raise InternalError("a pool is entered once", code="illegal-transition")
        self._sockets = tempfile.mkdtemp(prefix=_SOCKETS)
        wish = evolve(self._cloner.wish, socket=f"{self._sockets}/{{clone}}")
        self._cloner = evolve(self._cloner, wish=wish)

    async def _close(self) -> None:
        await to_its_end(self._end())

    async def _end(self) -> None:
        for task in self._filling:
            task.cancel()
        await asyncio.gather(*self._filling, return_exceptions=True)
        await asyncio.gather(*(self._cloner.take_back(one) for one in self._waiting))
        self._waiting.clear()
        shutil.rmtree(self._sockets, ignore_errors=True)

    async def _fill(self) -> None:
        self._waiting.append(await self._started())

    async def _started(self) -> OneClone:
        """One more that waits; where it does not come up nothing is left of it."""
        one = await self._begun()
        try:
            await self._cloner.ready(one)
        except BaseException:
            await to_its_end(self._cloner.take_back(one))
            raise
        return one

    async def _begun(self) -> OneClone:
        """Record one; another one of ours, or another snapplan, may be at it for a moment."""
        deadline = asyncio.get_running_loop().time() + _LOCK_S
        while True:
            try:
                return self._begin()
            except Refused as refused:
                late = asyncio.get_running_loop().time() > deadline
                if refused.code != "vm-locked" or late:
                    raise
            await asyncio.sleep(_LOOK_EACH_S)

    def _begin(self) -> OneClone:
        vm = self._cloner.vm
        if vm is None:
            return self._cloner.begin(1, RestoreState.STARTED)[0]
        with vm.locked():
            self._cloner = self._cloner.again()
            return self._cloner.begin(1, RestoreState.STARTED)[0]

    async def take(self) -> tuple[OneClone, Cloned]:
        """A clone that goes on: from a spare where one waits and is whole, else a new one."""
        while True:
            spare = bool(self._waiting)
            one = self._waiting.popleft() if spare else await self._started()
            try:
                cloned = await self._cloner.run(one)
            except BaseException as error:
                await to_its_end(self._cloner.take_back(one))
                if not spare or not isinstance(error, SnapplanError):
                    raise
            else:
                self._refill()
                return one, cloned

    def _refill(self) -> None:
        for _ in range(self._spares - len(self._waiting) - len(self._filling)):
            task = asyncio.create_task(self._fill_quietly())
            self._filling.add(task)
            task.add_done_callback(self._filling.discard)

    async def _fill_quietly(self) -> None:
        with suppress(SnapplanError):  # whoever takes the next one is told
            await self._fill()

    def attached(self, one: OneClone) -> Vm:
        """A clone that runs, over the connection that it was started with."""
        backend, address = one.waiting.backend, one.waiting.plan.socket
        if backend is None:
            raise InternalError("a clone that runs is not connected")
        store = self._cloner.offline.store
        return Vm(Context(RememberingBackend(backend), store, address, GuestAgent))

    async def give_back(self, one: OneClone, *, keep: bool) -> None:
        """End a clone, and remove its overlays unless they are kept."""
        await to_its_end(self._cloner.take_back(one, keep=keep))


@define
class Clone:
    """A clone for as long as an ``async with`` lasts; see `clone`.

    Attributes:
        cloned: What it was started as, once it is entered: its pid, its files, its names.
    """

    _pool: Pool
    _alone: bool = False
    _one: OneClone | None = field(init=False, default=None)
    _keep: bool = field(init=False, default=False)
    cloned: Cloned | None = field(init=False, default=None)

    async def __aenter__(self) -> Vm:
        """Have it go on from the snapshot."""
        if self._one is not None:
            raise InternalError("a clone is entered once", code="illegal-transition")
        if self._alone:
            await self._pool.__aenter__()
        try:
            self._one, self.cloned = await self._pool.take()
        except BaseException:
            if self._alone:
                await self._pool.__aexit__(None, None, None)
            raise
        return self._pool.attached(self._one)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End its QEMU, and remove its overlays unless they are kept."""
        if self._one is not None:
            await self._pool.give_back(self._one, keep=self._keep)
        if self._alone:
            await self._pool.__aexit__(kind, error, trace)

    def keep(self) -> None:
        """Keep its overlays when it ends: it is a restore then that can be promoted or dropped."""
        self._keep = True
