"""A connection that passes everything on to another one, for those that change a little of it."""

from __future__ import annotations

from collections.abc import Mapping

from planner.run.ports import Backend, Event, Host, Images

__all__ = ["ForwardingBackend"]


class ForwardingBackend:
    """A `planner.run.ports.Backend` that is another one, but for what a subclass does itself.

    Args:
        inner: The other one.
    """

    def __init__(self, inner: Backend) -> None:
        self.inner = inner

    @property
    def images(self) -> Images | None:
        """See `planner.run.ports.Backend.images`."""
        return self.inner.images

    @property
    def host(self) -> Host | None:
        """See `planner.run.ports.Backend.host`."""
        return self.inner.host

    @property
    def peer_pid(self) -> int | None:
        """See `planner.run.ports.Backend.peer_pid`."""
        return self.inner.peer_pid

    async def connect(self, timeout_s: float) -> None:
        """See `planner.run.ports.Backend.connect`."""
        await self.inner.connect(timeout_s)

    async def execute(
        self, command: str, arguments: Mapping[str, object], timeout_s: float
    ) -> object:
        """See `planner.run.ports.Backend.execute`."""
        return await self.inner.execute(command, arguments, timeout_s)

    async def execute_with_descriptor(
        self, command: str, arguments: Mapping[str, object], descriptor: int, timeout_s: float
    ) -> object:
        """See `planner.run.ports.Backend.execute_with_descriptor`."""
        return await self.inner.execute_with_descriptor(command, arguments, descriptor, timeout_s)

    async def wait_for_event(self, timeout_s: float) -> None:
        """See `planner.run.ports.Backend.wait_for_event`."""
        await self.inner.wait_for_event(timeout_s)

    def pending_events(self) -> tuple[Event, ...]:
        """See `planner.run.ports.Backend.pending_events`."""
        return self.inner.pending_events()

    async def close(self) -> None:
        """See `planner.run.ports.Backend.close`."""
        await self.inner.close()
