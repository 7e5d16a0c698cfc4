"""The clock of the machine that QEMU runs on, where that is this one."""

from __future__ import annotations

import time

__all__ = ["HostClock"]


class HostClock:
    """This machine's wall clock: QEMU's too, where it runs here."""

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1000
