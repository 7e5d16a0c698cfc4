"""Ctrl-C while a command is being loaded: it waits until there is somebody to take it.

An interrupt in the middle of an import leaves half a module behind, and whoever then wants to say what
happened finds that half.  So it is held back for the fraction of a second that loading takes.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["hold_back_interrupt", "interrupt_held_back"]


def hold_back_interrupt() -> None:
    """Hold it back until the first `interrupt_held_back` ends."""
    _before.append(signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}))


_before: list[set[int]] = []


@contextmanager
def interrupt_held_back() -> Iterator[None]:
    """Hold it back meanwhile, and let through what came since it was held back first."""
    hold_back_interrupt()
    try:
        yield
    finally:
        before = _before[0]
        _before.clear()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
