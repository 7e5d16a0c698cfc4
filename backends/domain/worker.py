"""A thread for calls that block, in their order: libvirt's API knows no deadline.

Rules: nobody waits longer than he wants to (a call whose caller left runs on and concerns nobody); the
thread is a daemon's, so that one that never returns keeps no process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Worker"]

_Result = TypeVar("_Result")
_Job = tuple["asyncio.Future[Any]", Callable[[], Any]]


class Worker:
    """One thread that does what it is given, one after the other."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="libvirt-calls", daemon=True).start()

    async def call(self, function: Callable[[], _Result]) -> _Result:
        """What the function returns or raises; one whose caller left before its turn is not called."""
        future: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        self._jobs.put((future, function))
        return await future

    def end(self) -> None:
        """Let the thread end when it has done what it was given."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, function = job
            if future.cancelled():
                continue
            result, failure = None, None
            try:
                result = function()
            except Exception as error:  # noqa: BLE001 - it is raised where somebody waits for it
                failure = error
            with contextlib.suppress(RuntimeError):  # its loop has ended
                future.get_loop().call_soon_threadsafe(_settle, future, result, failure)


def _settle(future: asyncio.Future[Any], result: object, failure: Exception | None) -> None:
    if future.done():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
