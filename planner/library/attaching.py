"""Attaching to a VM: over a socket of snapplan's own, or a connection that the tool holds already."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from attrs import define, field
from qemu.qmp import QMPClient

from backends.borrowed import borrow
from backends.guest_agent import GuestAgent
from planner.errors import InternalError
from planner.library.stores import Folder, store_at
from planner.library.vm import Vm
from planner.run.ports import Backend
from planner.run.remembering import RememberingBackend
from planner.store.finding import find_backend
from planner.store.store import Store
from planner.verbs.context import Context

__all__ = ["Attachment", "attach"]


def attach(
    qmp: str | Path | QMPClient | Backend,
    *,
    store: Folder = None,
    backend: str = "",
    address: str = "",
) -> Attachment:
    """Attach to a VM, for as long as an ``async with`` lasts.

    Args:
        qmp: An address (a unix socket's path, ``host:port``, or ``NAME:ADDRESS`` of another backend); or
            a connected `qemu.qmp.QMPClient` of the tool's own, which stays the tool's: its events still
            reach it, and it is not ended; or a connected backend.
        store: The folder of manifests and journals; None: as the command line has it, that is
            ``$SNAPPLAN_STORE``, else the user's state folder.
        backend: The name of the backend that an address is for; empty: as the address says, else QEMU.
        address: Where a VM is whose connection is handed over, for the record; empty: as the connection
            says.

    Returns:
        What ``async with`` takes; nothing is connected before.

    Raises (on entering):
        CannotConnect: Nobody answers there, or not in QMP.
        BadInput: The address or the backend's name is not usable.
    """
    return Attachment(qmp, store_at(store), backend, address)


@define
class Attachment:
    """A connection that lasts as long as an ``async with``."""

    _qmp: str | Path | QMPClient | Backend
    _store: Store
    _name: str
    _address: str
    _backend: Backend | None = field(init=False, default=None)

    async def __aenter__(self) -> Vm:
        """Connect; the VM is asked nothing yet."""
        if self._backend is not None:
            raise InternalError("an attachment is entered once", code="illegal-transition")
        self._backend, address = await self._connected()
        backend = RememberingBackend(self._backend)
        context = Context(backend, self._store, self._address or address, GuestAgent)
        return Vm(context)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the connection, or give it back; the VM goes on."""
        if self._backend is not None:
            await self._backend.close()

    async def _connected(self) -> tuple[Backend, str]:
        if isinstance(self._qmp, str | Path):
            spelled = str(self._qmp)
            connect, place = find_backend(spelled, self._name)
            return await connect(place), f"{self._name}:{spelled}" if self._name else spelled
        if isinstance(self._qmp, QMPClient):
            borrowed = borrow(self._qmp)
            return borrowed, str(borrowed.address)
        return self._qmp, ""
