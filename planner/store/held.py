"""Works on a VM while nobody else does: its locks first, then what counts is asked.

The locks are named after the QEMU process (`planner.store.process_locks`), so a little has to be asked
before they can be taken.  What a run is decided on is asked with the locks held.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define, field

from planner.errors import CannotConnect
from planner.host.processes import qemu_process
from planner.model.facts import Facts
from planner.model.replies import vm_name_of, vm_uuid_of
from planner.run.ports import Backend, CommandRefused, ConnectionLost, NoReply
from planner.run.pump import ask_facts
from planner.store.instance import Instance, threads_of
from planner.store.meeting import Met, meet
from planner.store.process_locks import locked_names, names_of
from planner.store.store import Store, VmStore

__all__ = ["Held", "met_and_locked"]

_TIMEOUT_S = 30.0


@define
class Held:
    """A VM that nobody else works on, for as long as `met_and_locked` lasts.

    Attributes:
        met: What it is, asked with its locks held.
        vm: Its share of the store.
    """

    met: Met
    vm: VmStore
    _fresh: bool = field(init=False, default=True)

    async def facts(self) -> Facts:
        """The VM as it is now: what was asked under the lock, once; asked anew from then on.

        Raises:
            CannotConnect: It does not answer.
        """
        if self._fresh:
            self._fresh = False
            return self.met.facts
        return await ask_facts(self.met.backend)


@asynccontextmanager
async def met_and_locked(backend: Backend, store: Store, address: str) -> AsyncIterator[Held]:
    """Hold the locks of a VM, and ask what it is when they are held.

    Whose lock it is, only the VM can say.  Little is asked for that: all that counts is asked, or
    asked again, under the lock.

    Raises:
        Refused: Another snapplan is at work on it (``vm-locked``).
        BadInput: The store cannot be written (``store-unwritable``).
        CannotConnect: The VM does not answer, or not in the shape that QMP says.
    """
    names = await _ask_lock_names(backend)
    while True:
        if names is None:
            names = (await meet(backend, store, address)).lock_names
        with locked_names(names):
            met = await meet(backend, store, address)
            if met.lock_names == names:
                with met.locked_share() as vm:
                    yield Held(met, vm)
                return
        names = met.lock_names  # another QEMU answers there now


async def _ask_lock_names(backend: Backend) -> tuple[str, ...] | None:
    """The locks of a QEMU by what it says of itself; None: more has to be asked."""
    try:
        uuid = vm_uuid_of(await backend.execute("query-uuid", {}, _TIMEOUT_S))
        name = vm_name_of(await backend.execute("query-name", {}, _TIMEOUT_S))
        threads = threads_of(await backend.execute("query-cpus-fast", {}, _TIMEOUT_S))
    except (CommandRefused, ConnectionLost, NoReply, CannotConnect):
        return None
    process = qemu_process(backend.peer_pid, threads, ())  # None: a relay, or a container
    if process is None:
        return None
    return names_of(Instance(threads, process), uuid, name)
