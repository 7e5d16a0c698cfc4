"""Watches a run go on, beside its machine: what QEMU answers anyway, and what its process has moved.

Rules: nothing is asked of QEMU here, so no guest stands still for it, and nothing of it is journaled: a
run goes as it would without anybody watching.  Whatever goes wrong here is nobody's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import TypeVar

from planner.model.replies import migration_of
from planner.run.actions import Action, Response, Returned, Send
from planner.run.progress import Amount, Meter
from planner.run.reporting import Teller
from planner.run.waits import ENDED_MIGRATION

__all__ = ["Watch"]

_Result = TypeVar("_Result")

_EVERY_S = 0.2
_READS = {"snapshot-save": False, "snapshot-load": True}
_MERGES = ("commit", "stream", "mirror", "backup")
_MOST = 2**53 - 1


class Watch:
    """Tells a reporter how far a run is.

    Args:
        teller: Who is told.
        meter: What counts the bytes of a snapshot job; None: nothing does.
    """

    def __init__(self, teller: Teller, meter: Meter | None = None) -> None:
        self._teller = teller
        self._meter = meter
        self._phase = ""
        self._measuring = False
        self._streaming = False  # else QEMU tells of somebody's last migration
        self._told_at = 0.0

    async def during(self, action: Action, phase: str, doing: Awaitable[Response]) -> Response:
        """Await what a run does, and tell of it; what comes of it comes back."""
        self.enter(phase)
        with suppress(Exception):
            self._before(action, phase)
        response = await self.metered(doing) if self._measuring else await doing
        with suppress(Exception):
            self._heard(action, response)
        return response

    async def metered(self, doing: Awaitable[_Result]) -> _Result:
        """Await something while the meter is read again and again."""
        ticking = asyncio.create_task(self._tick())
        try:
            return await doing
        finally:
            ticking.cancel()

    def measure(self, phase: str, *, reads: bool) -> None:
        """Count from now on what a process or a file moves."""
        self._phase = phase
        self._measuring = self._meter is not None
        if self._meter is not None:
            self._meter.begin(reads=reads)

    def enter(self, phase: str) -> None:
        """Tell of another phase, where it is one."""
        if phase != self._phase:
            self._phase = phase
            self._teller.amount(Amount(phase))

    def _before(self, action: Action, phase: str) -> None:
        if isinstance(action, Send):
            self._measuring = False
            self._streaming = self._streaming or action.command == "migrate"
            if action.command in _READS:
                self.measure(phase, reads=_READS[action.command])

    async def _tick(self) -> None:
        with suppress(Exception):
            while self._meter is not None:
                await asyncio.sleep(_EVERY_S)
                done, total = self._meter.done_bytes(), self._meter.total_bytes
                if done is None:
                    return
                self._tell(done, total if total is None else max(total, done))

    def _heard(self, action: Action, response: Response) -> None:
        if not isinstance(action, Send) or not isinstance(response, Returned):
            return
        if action.command == "query-migrate":
            found = migration_of(response.value)
            self._streaming = self._streaming or found.status not in ENDED_MIGRATION
            if self._streaming and found.transferred_bytes:
                total = found.transferred_bytes + found.remaining_bytes
                self._tell_now_and_then(
                    found.transferred_bytes, total, last=found.status == "completed"
                )
        elif action.command == "query-jobs":
            done, total = _merged(response.value)
            if total:
                self._tell_now_and_then(done, total, last=done == total)

    def _tell_now_and_then(self, done: int, total: int, *, last: bool) -> None:
        now = asyncio.get_running_loop().time()
        if last or now - self._told_at >= _EVERY_S:
            self._told_at = now
            self._tell(done, total)

    def _tell(self, done: int, total: int | None) -> None:
        if 0 <= done <= _MOST and (total is None or 0 <= total <= _MOST):
            self._teller.amount(Amount(self._phase, done, total))


def _merged(reply: object) -> tuple[int, int]:
    """What block jobs have done, and will have; those of snapshots count in steps of their own."""
    jobs = reply if isinstance(reply, list) else []
    found = [job for job in jobs if isinstance(job, Mapping) and job.get("type") in _MERGES]
    return (
        sum(int(job.get("current-progress", 0)) for job in found),
        sum(int(job.get("total-progress", 0)) for job in found),
    )
