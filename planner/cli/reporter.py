"""Progress on stderr: one line that changes on a terminal; nothing but notes elsewhere.

Rules: words are written by a thread of their own, so that a terminal that stands still (Ctrl-S), or a
pipe that nobody empties, keeps no guest waiting.  They are all written, in their order, before the
command's own last words.
"""

from __future__ import annotations

import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from planner.cli.guarded import unguarded
from planner.present.visible import visible

__all__ = ["TerminalReporter"]

_Words = Callable[[], None]


class TerminalReporter:
    """A `planner.run.ports.Reporter` on stderr; honours ``NO_COLOR``."""

    def __init__(self) -> None:
        self._console = Console(file=unguarded(sys.stderr))
        self._status: Status | None = None
        self._words: queue.SimpleQueue[_Words | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="snapplan-words", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if self._console.is_terminal:
            self._status = self._console.status("starting")
            self._words.put(self._status.start)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._words.put(self._status.stop)
        self._words.put(None)
        self._thread.join()

    def _write(self) -> None:
        # A pipe without a reader is no wish to stop (`planner.cli.stopping`).
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        while (say := self._words.get()) is not None:
            with suppress(Exception):  # what cannot be said is not said, and all else goes on
                say()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Take the progress line away while the user is asked something; it comes back after a yes."""
        if self._status is None:
            yield
            return
        gone = threading.Event()
        self._words.put(self._status.stop)
        self._words.put(gone.set)
        gone.wait()
        yield
        self._words.put(self._status.start)

    def step(self, number: int, count: int, what: str) -> None:
        """Show the step that is about to be sent."""
        status = self._status
        if status is not None:
            line = escape(visible(f"step {number} of {count}: {what}"))
            self._words.put(lambda: status.update(line))

    def note(self, text: str) -> None:
        """Print a line that stays."""
        if self._status is not None:
            self._words.put(lambda: self._console.print(escape(visible(text)), highlight=False))
        else:
            self._words.put(lambda: click.echo(f"snapplan: {visible(text)}", err=True))
