"""An event loop in a thread of its own, for whoever has none and waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from attrs import define, field

from planner.run.forwarding import ForwardingBackend
from planner.run.ports import Backend, Event

__all__ = ["Loop", "OtherLoop", "once"]

_Result = TypeVar("_Result")


@define
class Loop:
    """An event loop in a thread of its own."""

    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.new_event_loop)
    _thread: threading.Thread = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._thread = threading.Thread(target=self._loop.run_forever, name="snapplan", daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Do it there, and wait for it; whatever interrupts the waiting is a wish to stop."""
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("the loop has ended")
        tasks: list[asyncio.Task[_Result]] = []
        ended = threading.Event()

        def begin() -> None:
            if not tasks:
                tasks.append(self._loop.create_task(work))
                tasks[0].add_done_callback(lambda _: ended.set())

        def cancel() -> None:
            tasks[0].cancel()

        # Ctrl-C may strike anywhere here, and a second one where the first is answered: each line can be
        # done again, and nothing but the end of the work leads out.
        begun, interrupt = False, None
        while not ended.is_set():
            try:
                if not begun:
                    self._loop.call_soon_threadsafe(begin)
                    begun = True
                if interrupt is not None:
                    self._loop.call_soon_threadsafe(cancel)
                ended.wait()
            except BaseException as error:  # noqa: BLE001 - Ctrl-C, most of all: first it is undone
                interrupt = error
        if interrupt is not None:
            raise interrupt
        return tasks[0].result()

    async def elsewhere(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Do it there, awaited in another loop; begun in the order of the calls."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def at_once(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Do there what waits for nothing."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def end(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class OtherLoop(ForwardingBackend):
    """A `planner.run.ports.Backend` whose connection lives in another loop, in a thread of its own.

    Args:
        backend: Connected, in that loop.
        loop: That loop.
    """

    def __init__(self, backend: Backend, loop: Loop) -> None:
        super().__init__(backend)
        self._loop = loop

    async def connect(self, timeout_s: float) -> None:
        """See `planner.run.ports.Backend.connect`."""
        await self._loop.elsewhere(self.inner.connect(timeout_s))

    async def execute(
        self, command: str, arguments: Mapping[str, object], timeout_s: float
    ) -> object:
        """See `planner.run.ports.Backend.execute`."""
        return await self._loop.elsewhere(self.inner.execute(command, arguments, timeout_s))

    async def execute_with_descriptor(
        self, command: str, arguments: Mapping[str, object], descriptor: int, timeout_s: float
    ) -> object:
        """See `planner.run.ports.Backend.execute_with_descriptor`."""
        sending = self.inner.execute_with_descriptor(command, arguments, descriptor, timeout_s)
        return await self._loop.elsewhere(sending)

    async def wait_for_event(self, timeout_s: float) -> None:
        """See `planner.run.ports.Backend.wait_for_event`."""
        await self._loop.elsewhere(self.inner.wait_for_event(timeout_s))

    def pending_events(self) -> tuple[Event, ...]:
        """See `planner.run.ports.Backend.pending_events`."""

        async def take() -> tuple[Event, ...]:
            return self.inner.pending_events()

        return self._loop.at_once(take())

    async def close(self) -> None:
        """It is the other loop's to close."""


def once(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Do it in a loop that lasts as long as it does."""
    loop = Loop()
    try:
        return loop.do(work)
    finally:
        loop.end()
