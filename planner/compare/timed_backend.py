"""A backend that notes when what was sent and answered."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from planner.compare.rehearsal import Span
from planner.run.forwarding import ForwardingBackend
from planner.run.ports import (
    Backend,
    Event,
)

__all__ = ["TimedBackend", "now_us"]


class TimedBackend(ForwardingBackend):
    """A backend that notes when what was sent and answered; microseconds of the host's clock."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self.spans: list[Span] = []
        self.under_way = 0
        self.silence_us = 0
        self.pauses: list[tuple[str, int]] = []
        self.paused = False

    async def execute(
        self, command: str, arguments: Mapping[str, object], timeout_s: float
    ) -> object:
        """See `planner.run.ports.Backend.execute`."""
        with self._noted(command):
            return await self.inner.execute(command, arguments, timeout_s)

    async def execute_with_descriptor(
        self, command: str, arguments: Mapping[str, object], descriptor: int, timeout_s: float
    ) -> object:
        """See `planner.run.ports.Backend.execute_with_descriptor`."""
        with self._noted(command):
            return await self.inner.execute_with_descriptor(
                command, arguments, descriptor, timeout_s
            )

    @contextmanager
    def _noted(self, command: str) -> Iterator[None]:
        begin, paused, behind = now_us(), self.paused, self.under_way > 0
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1
            self.spans.append(Span(command, begin, now_us(), paused, behind))

    async def wait_for_event(self, timeout_s: float) -> None:
        """See `planner.run.ports.Backend.wait_for_event`."""
        begin = now_us()
        try:
            await self.inner.wait_for_event(timeout_s)
        finally:
            self.silence_us = max(self.silence_us, now_us() - begin)

    def pending_events(self) -> tuple[Event, ...]:
        """See `planner.run.ports.Backend.pending_events`."""
        events = self.inner.pending_events()
        for event in events:
            if event.name in ("STOP", "RESUME"):
                self.pauses.append((event.name, event.timestamp_us))
                self.paused = event.name == "STOP"
        return events


def now_us() -> int:
    """The host's clock, in microseconds since the epoch."""
    return time.time_ns() // 1000
