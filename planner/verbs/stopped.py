"""Work that takes back what it did when it is cancelled, awaited so that what stops us cancels it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from planner.errors import Interrupted
from planner.verbs.context import Context, Offline

__all__ = ["stopped_by_cancelling"]

_Result = TypeVar("_Result")


async def stopped_by_cancelling(
    context: Context | Offline, work: Coroutine[Any, Any, _Result]
) -> _Result:
    """Await work that takes back what it did when it is cancelled.

    Raises:
        Interrupted: It was stopped.
    """
    task = asyncio.ensure_future(work)

    async def ended() -> _Result:
        try:
            return await task
        except asyncio.CancelledError:
            state = "What had been begun is taken back."
            raise Interrupted("stopped", vm_state=state) from None

    return await context.awaiting(ended(), lambda: _cancel(task))


def _cancel(task: asyncio.Future[_Result]) -> None:
    task.cancel()
