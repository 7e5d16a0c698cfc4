"""A domain of libvirt's as a QMP peer: libvirt's monitor passes the commands through, and the events.

Rules: what stops the guest or lets it run goes by libvirt's own calls, so that libvirt's view of the
domain stays right; everything else is passed through, in the order of its calls.  A libvirt or a domain
that is gone is a lost connection: every call says so at once, until `connect` makes a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Mapping

from backends.domain.address import DomainAddress, parse_address
from backends.domain.bindings import bindings
from backends.domain.chains import Chains
from backends.domain.link import Link, Message
from backends.domain.pivots import kept_since_start
from backends.domain.process import qemu_of_domain
from backends.domain.saves import begin_save
from backends.domain.worker import Worker
from backends.host import QemuHost
from backends.peer import HEARD_EVENTS, PeerBackend, event_of
from planner.errors import CannotConnect, Problem
from planner.model.libvirt_save import DESCRIPTOR_OF_A_SAVE
from planner.run.ports import CommandRefused, ConnectionLost, NoReply

__all__ = ["LibvirtBackend", "connect"]

_CLOSING_S = 2.0
_EVENTS_LIMIT = 100_000
_SLOW = "libvirt is slow, hangs, or asks for what only a person can give"


async def connect(address: str, timeout_s: float = 10.0) -> LibvirtBackend:
    """Connect to a domain of libvirt's; the entry point of this backend.

    Args:
        address: ``URI#DOMAIN``, as in ``qemu:///system#web``.
        timeout_s: How long libvirt may take, in seconds.

    Raises:
        BadInput: The address is malformed.
        CannotConnect: libvirt-python is not installed (``libvirt-missing``), no libvirt answers
            (``nobody-listens``, ``no-greeting``), or the domain is not there (``domain-unknown``) or
            does not run (``domain-off``).
    """
    backend = LibvirtBackend(parse_address(address))
    await backend.connect(timeout_s)
    return backend


class LibvirtBackend(PeerBackend):
    """A `planner.run.ports.Backend` on a domain of libvirt's.

    Attributes:
        address: Where it is.
    """

    def __init__(self, address: DomainAddress) -> None:
        super().__init__()
        self.address = address
        self._worker: Worker | None = None
        self._link: Link | None = None
        self._chains: Chains | None = None
        self._arrived: deque[Message] = deque()
        self._news = asyncio.Event()
        self._why_lost = "not connected"

    @property
    def is_local(self) -> bool:
        """Whether libvirt, and so QEMU, runs on this machine."""
        return self.address.is_local

    async def connect(self, timeout_s: float) -> None:
        """Connect, or connect anew; see `planner.run.ports.Backend.connect`."""
        await self.close()
        api, worker, loop = bindings(), Worker(), asyncio.get_running_loop()

        def to_the_loop(function: Callable[[Worker, object], None]) -> Callable[[object], None]:
            def call(said: object) -> None:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(function, worker, said)

            return call

        heard, lost = to_the_loop(self._hear), to_the_loop(self._lose)
        self._worker, self._why_lost = worker, ""
        try:
            async with asyncio.timeout(timeout_s):
                link = await worker.call(lambda: Link(api, self.address, heard, lost))
        except TimeoutError as error:
            await self.close()
            problem = Problem("no-greeting", str(self.address), "libvirt does not answer", _SLOW)
            words = f"cannot connect to {self.address}: {problem.message}"
            raise CannotConnect(words, problems=(problem,), code=problem.code) from error
        except BaseException:
            await self.close()
            raise
        self._link, self._chains = link, Chains(link)
        self._peer_pid = qemu_of_domain(link.uuid) if self.is_local else None

    def _make_host(self) -> QemuHost:
        return QemuHost(kept=kept_since_start(self.address))

    def _hear(self, worker: Worker, said: object) -> None:
        if worker is not self._worker or not isinstance(said, Mapping):
            return  # of a connection that was left
        if said.get("event") in HEARD_EVENTS:
            self._arrived.append(said)
            if len(self._arrived) > _EVENTS_LIMIT:
                self._lose(worker, "the domain sends events without end")
            self._news.set()

    def _lose(self, worker: Worker, why: object) -> None:
        if worker is self._worker:
            self._why_lost = self._why_lost or str(why)
            self._news.set()

    async def _ask(self, command: str, arguments: Mapping[str, object]) -> object:
        return await self._called(command, lambda chains: chains.do(command, arguments))

    async def _called(self, command: str, asking: Callable[[Chains], object]) -> object:
        worker, chains = self._worker, self._chains
        if worker is None or chains is None or self._why_lost:
            raise ConnectionLost(f"{command} was not sent: {self._why_lost}")
        try:
            return await worker.call(lambda: asking(chains))
        except ConnectionLost as lost:
            self._lose(worker, str(lost))
            raise

    async def execute_with_descriptor(
        self, command: str, arguments: Mapping[str, object], descriptor: int, timeout_s: float
    ) -> object:
        """Send a command with a descriptor; see `planner.run.ports.Backend`."""
        if not self.is_local:
            raise CommandRefused("snapplan", "no descriptor can be passed to another machine")
        # The caller may close his as soon as his time is over.  Whoever takes ours from here closes it.
        ours = [os.dup(descriptor)]

        names = (arguments.get("fdname"), arguments.get("opaque"))

        def sending(chains: Chains) -> object:
            taken = ours.pop()
            try:
                if DESCRIPTOR_OF_A_SAVE in names:
                    begin_save(chains.link, taken)
                return chains.link.ask(command, arguments, [taken])
            finally:
                os.close(taken)

        try:
            async with asyncio.timeout(timeout_s):
                return await self._called(command, sending)
        except TimeoutError as error:
            raise NoReply(f"no reply to {command} within {timeout_s:g} s") from error
        finally:
            with contextlib.suppress(IndexError):
                os.close(ours.pop())

    async def wait_for_event(self, timeout_s: float) -> None:
        """Wait for an event; see `planner.run.ports.Backend.wait_for_event`."""
        self._news.clear()
        if self._events or self._arrived:
            return
        if not self._why_lost:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(timeout_s, 0.0)):
                    await self._news.wait()
        if self._arrived:
            return
        if self._why_lost:
            raise ConnectionLost(self._why_lost)
        raise NoReply(f"no event within {max(timeout_s, 0.0):g} s")

    def _take(self) -> None:
        self._events.extend(event_of(message) for message in self._arrived)
        self._arrived.clear()

    async def close(self) -> None:
        """End the connection; the domain goes on."""
        worker, self._worker = self._worker, None
        link, self._link, self._chains = self._link, None, None
        self._why_lost = "not connected"
        if worker is None:
            return
        if link is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSING_S):
                    await worker.call(link.close)
        worker.end()
