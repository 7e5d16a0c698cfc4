"""A terminal's line while something takes its time: words, a bar, bytes, rate, time left.

It moves by itself, several times a second, so nothing is silent.  The rate is that of the step in hand;
what is left is an estimate, since bytes in all are one (`planner.run.progress`).  Without colours where
``NO_COLOR`` says so; gone when it ends.
"""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from planner.cli import waiting_line
from planner.cli.guarded import unguarded

__all__ = ["ProgressLine", "amount_words"]

_BAR_WIDTH = 24
_TELL_TIME_S = 1.0
_MIB = 2**20


class ProgressLine:
    """One line on standard error.

    Attributes:
        console: Where it is; what is printed there goes above the line.
    """

    def __init__(self, words: str = "starting") -> None:
        self.console = Console(file=unguarded(sys.stderr))
        self._spinner = Spinner("dots", style="status.spinner")
        self._words = words
        self._done: int | None = None
        self._total: int | None = None
        self._began_s = self._counted_s = time.monotonic()
        self._first = 0
        self._held = False
        self._live = Live(
            get_renderable=self._drawn,
            console=self.console,
            transient=True,
            refresh_per_second=10,
        )

    def start(self) -> None:
        """Show it."""
        if not self._held:
            waiting_line.hold()
        self._held = True
        self._live.start(refresh=True)

    def stop(self) -> None:
        """Wipe it; it can be shown again."""
        self._live.stop()
        if self._held:
            waiting_line.release()
        self._held = False

    def update(self, words: str, done: int | None = None, total: int | None = None) -> None:
        """Say what goes on, and how many bytes of how many are done; None: nobody tells."""
        if words != self._words or done is None or self._done is None:
            self._counted_s, self._first = time.monotonic(), done or 0
        if words != self._words:
            self._began_s = time.monotonic()
        self._words, self._done, self._total = words, done, total

    def _drawn(self) -> Table:
        now = time.monotonic()
        row: list[Spinner | Text | ProgressBar] = [self._spinner]
        row.append(Text(self._words, no_wrap=True, overflow="ellipsis"))
        if self._done is not None:
            if self._total:
                bar = ProgressBar(self._total, min(self._done, self._total), width=_BAR_WIDTH)
                row.append(bar)
            moved, seconds = self._done - self._first, now - self._counted_s
            row.append(Text(amount_words(self._done, self._total, moved, seconds)))
        elif now - self._began_s >= _TELL_TIME_S:
            row.append(Text(f"{now - self._began_s:.0f} s"))
        grid = Table.grid(padding=(0, 1))
        for _ in row:
            grid.add_column(no_wrap=True)
        grid.add_row(*row)
        return grid


def amount_words(done: int, total: int | None, moved: int, seconds: float) -> str:
    """Bytes, rate and time left.

    Args:
        done: Bytes so far.
        total: Bytes in all, as far as is known; None: not known.
        moved: Bytes in the time that was measured.
        seconds: That time.
    """
    words = f"{done / _MIB:.0f} MiB"
    if total is not None:
        words = f"{done / _MIB:.0f} of {total / _MIB:.0f} MiB"
    if moved <= 0 or seconds <= 0:
        return words
    rate = moved / seconds
    words += f", {rate / _MIB:.0f} MiB/s"
    if total is not None and total > done:
        left = round((total - done) / rate)
        words += f", about {left // 60}:{left % 60:02} left"
    return words
