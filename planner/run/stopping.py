"""Work that changes a VM is brought to its end, whoever loses patience.

Rules: a task that is cancelled (`asyncio.timeout`, a task group, Ctrl-C under `asyncio.run`) must not
leave a guest paused between two awaits.  So such work runs in a task of its own, which the cancellation
does not reach; the work is asked to stop, it undoes what it did, and only then is the cancellation
raised again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["go_on_regardless", "to_its_end"]

_Result = TypeVar("_Result")


async def to_its_end(
    work: Coroutine[Any, Any, _Result], stop: Callable[[], None] = lambda: None
) -> _Result:
    """Await work that must not be cut short.

    Args:
        work: What is awaited; it begins at once.
        stop: Asks it to stop; called for each cancellation, and returns at once.

    Raises:
        CancelledError: This task was cancelled meanwhile; the work has ended all the same.
    """
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
            stop()
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # the cancellation comes first, and asyncio is not to complain of the other
    raise cancelled


def go_on_regardless() -> None:
    """Take back a cancellation of this very task, so that time-outs in it work again."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
