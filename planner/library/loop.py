"""An event loop in a thread of its own, for whoever has none and waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from attrs import define, field

__all__ = ["Loop", "once"]

_Result = TypeVar("_Result")


async def _started(work: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
    return asyncio.get_running_loop().create_task(work)


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
        task = asyncio.run_coroutine_threadsafe(_started(work), self._loop).result()
        ended = threading.Event()
        self._loop.call_soon_threadsafe(task.add_done_callback, lambda _: ended.set())
        interrupt: BaseException | None = None
        while not ended.is_set():
            try:
                ended.wait()
            except BaseException as error:  # noqa: BLE001 - Ctrl-C, most of all: first it is undone
                interrupt = error
                self._loop.call_soon_threadsafe(task.cancel)
        if interrupt is not None:
            raise interrupt
        return task.result()

    def end(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def once(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Do it in a loop that lasts as long as it does."""
    loop = Loop()
    try:
        return loop.do(work)
    finally:
        loop.end()
