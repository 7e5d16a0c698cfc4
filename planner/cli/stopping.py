"""Every way to stop, as one wish: what a signal does while a VM or its disks are being changed.

Rules: a closed terminal and a dropped ssh (SIGHUP), a service manager (SIGTERM) and the keyboard
(SIGINT, SIGQUIT) all ask for the same: stop, and leave things as they were; so does whatever else would
end the process and can be caught.  A hang-up that was to be ignored when snapplan was started (nohup)
is ignored.  Whoever sends SIGPIPE asks for it too; what the kernel says of a pipe that we write to
ourselves is no wish.  What would suspend the process (Ctrl-Z, words for a terminal that another program
has) does nothing meanwhile: the guest might be paused.  Outside of these lines signals do what they
always do, since nothing is under way; only Ctrl-C cancels what waits, so that connections are ended, and
once is enough.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from attrs import frozen

from planner.run.stopping import to_its_end

__all__ = ["STOPS", "StoppedBySignals", "cancelled_once"]

STOPS = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGXCPU, signal.SIGPWR),
)
_SUSPEND = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)

_Result = TypeVar("_Result")


async def cancelled_once(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Await a command's work; the first Ctrl-C cancels it, and further ones change nothing.

    Raises:
        click.Abort: It was cancelled by that.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        return await work
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    stopped = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopped
        if not stopped and task is not None:
            stopped = True
            loop.call_soon_threadsafe(task.cancel)

    signal.signal(signal.SIGINT, stop)
    try:
        return await work
    except asyncio.CancelledError:
        if not stopped:
            raise
        raise click.Abort from None
    finally:
        ignored = stopped or signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else before)


@frozen
class StoppedBySignals:
    """Awaits work that undoes itself when it is asked to stop, and does so for whatever stops us.

    Attributes:
        told: Says that the wish was heard; returns at once.
    """

    told: Callable[[], None] = lambda: None

    async def __call__(
        self, work: Coroutine[Any, Any, _Result], stop: Callable[[], None], /
    ) -> _Result:
        """Await the work, to its end.

        Args:
            work: What is awaited.
            stop: Asks it to stop; returns at once.
        """

        def heard() -> None:
            stop()
            self.told()

        with _heard(heard):
            return await to_its_end(work, stop)


@contextmanager
def _heard(stop: Callable[[], None]) -> Iterator[None]:
    """Take every signal of `STOPS` for a wish; afterwards each does what it did before."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in STOPS}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]
    with _pipes_of_others(), _not_suspended():
        for number in before:
            loop.add_signal_handler(number, stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def _not_suspended() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SUSPEND}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def _pipes_of_others() -> Iterator[None]:
    """Let this thread hear no SIGPIPE of its own writes, and the process one that somebody sends.

    The kernel gives the first to the thread that wrote, where it is blocked, and the second to any
    thread that takes it: to one that does nothing else.
    """
    ended = threading.Event()
    listener = threading.Thread(target=ended.wait, name="snapplan-sigpipe", daemon=True)
    listener.start()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        ended.set()
        listener.join()
