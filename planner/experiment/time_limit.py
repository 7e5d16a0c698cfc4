"""A case whose time is up, and work of a case that a time limit or a signal ends."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any

from planner.errors import Problem, RunFailed
from planner.experiment.experiment import Case
from planner.experiment.result import CaseResult

__all__ = ["run_limited", "too_long"]

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_REMEDY = "raise time-limit-s in the file"


def too_long(message: str, remedy: str = _REMEDY) -> RunFailed:
    """What a case has come to whose time is up (``case-too-long``)."""
    return RunFailed.of(Problem("case-too-long", "time-limit-s", message, remedy))


def run_limited(case: Case, work: Coroutine[Any, Any, CaseResult]) -> CaseResult:
    """Run work of a case; the first signal that would stop us cancels it, and more change nothing.

    Raises:
        RunFailed: Its time was up (``case-too-long``); it was cancelled, and has ended.
        KeyboardInterrupt: It was stopped, and has ended.
    """
    return asyncio.run(_stopped_once(_within_its_time(case, work)))


async def _stopped_once(work: Coroutine[Any, Any, CaseResult]) -> CaseResult:
    """Await the work; a signal cancels it.

    What a signal raises inside of a loop would end the task that tells of a connection that broke, too,
    and then nobody hears that QEMU has ended.

    Raises:
        KeyboardInterrupt: It was stopped.
    """
    if threading.current_thread() is not threading.main_thread():
        return await work
    loop, task, stopped = asyncio.get_running_loop(), asyncio.ensure_future(work), asyncio.Event()

    def stop() -> None:
        if not stopped.is_set():
            stopped.set()
            task.cancel()

    before = {number: signal.getsignal(number) for number in _STOPS}
    heard = [number for number, found in before.items() if found is not signal.SIG_IGN]
    for number in heard:
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if stopped.is_set():
            raise KeyboardInterrupt from None
        raise
    finally:
        for number in heard:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])


async def _within_its_time(case: Case, work: Coroutine[Any, Any, CaseResult]) -> CaseResult:
    try:
        async with asyncio.timeout(case.time_limit_s):
            return await work
    except TimeoutError:
        raise too_long(f"it did not end in {case.time_limit_s} s") from None
