"""A terminal's line while a command says nothing: what is at work, and for how long.

Where a run tells of its steps, `planner.cli.progress_line` has the line, and this one is held back.
It is for all the rest: what is imported, asked, searched, drawn and read before and after.  A command
need not begin or end it, and it is gone before anything else is written.

Rules: it is drawn where the terminal is ours, can wipe a line, and stands at a line's beginning, so
that a question stays as it was asked.  Signals go to other threads; nothing waits for this one.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["begin", "end", "free_for", "held", "hold", "release", "say"]

_STDERR = 2
_AFTER_S = 0.4
_EVERY_S = 0.2
_WIPE = b"\r\x1b[2K"
_SPINNER = "|/-\\"
_USUAL_COLUMNS = 80


class _Line:
    """The line of this process; its state is under one lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.thread: threading.Thread | None = None
        self.words = ""
        self.began_s = self.quiet_since_s = time.monotonic()
        self.held = 0
        self.shown = False
        self.at_beginning = True

    def keep_drawing(self) -> None:
        """Until it has ended."""
        for turn in itertools.cycle(_SPINNER):
            if self.ended.wait(_EVERY_S):
                return
            with self.lock:
                self.draw(turn)

    def draw(self, turn: str) -> None:
        """Once, if it is time for it and place."""
        now = time.monotonic()
        if self.held or not self.at_beginning or now - self.quiet_since_s < _AFTER_S:
            return
        with contextlib.suppress(OSError):  # a terminal that is gone: others find out
            if os.tcgetpgrp(_STDERR) != os.getpgrp():
                return
            columns = os.get_terminal_size(_STDERR).columns or _USUAL_COLUMNS
            text = f"{turn} {self.words}, {now - self.began_s:.0f} s"[: max(columns - 1, 1)]
            self.shown = True
            os.write(_STDERR, _WIPE + text.encode("ascii", "replace"))

    def wipe(self) -> None:
        """Take it away, if it is there."""
        if self.shown:
            self.shown = False
            with contextlib.suppress(OSError):
                os.write(_STDERR, _WIPE)


_line = _Line()


def begin(words: str) -> None:
    """Have a line from now on, until `end`; nowhere but on a terminal that can wipe it."""
    if not os.isatty(_STDERR) or os.environ.get("TERM", "dumb") in ("", "dumb", "unknown"):
        return
    say(words)
    _line.thread = threading.Thread(target=_line.keep_drawing, name="snapplan-waiting", daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        _line.thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end() -> None:
    """Wipe it, for good."""
    if _line.thread is None:
        return
    _line.ended.set()
    _line.thread.join()
    _line.wipe()


def say(words: str) -> None:
    """What is at work now; its time begins anew."""
    _line.words = words
    _line.began_s = time.monotonic()


@contextmanager
def free_for(data: bytes | memoryview) -> Iterator[None]:
    """The terminal, for these bytes to be written."""
    with _line.lock:
        _line.wipe()
        yield
        _line.at_beginning = bytes(data[-1:]) in (b"\n", b"\r", b"")
        _line.quiet_since_s = time.monotonic()


def hold() -> None:
    """Something else has the terminal; `release` follows."""
    with _line.lock:
        _line.held += 1
        _line.wipe()


def release() -> None:
    """Whoever has held it leaves the terminal at a line's beginning."""
    with _line.lock:
        _line.held -= 1
        _line.at_beginning = True
        _line.quiet_since_s = time.monotonic()


@contextmanager
def held() -> Iterator[None]:
    """Something else has the terminal meanwhile."""
    hold()
    try:
        yield
    finally:
        release()
