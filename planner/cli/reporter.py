"""Progress on stderr: one line that changes on a terminal, nothing but notes elsewhere; or JSON lines.

Rules: words are written by a thread of their own, so that a terminal that stands still (Ctrl-S), or a
pipe that nobody empties, keeps no guest waiting.  They are all written, in their order, before the
command's own last words.
"""

from __future__ import annotations

import json
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click
from attrs import evolve

from planner.cli import waiting_line
from planner.present.progress_view import progress_to_plain
from planner.present.visible import visible
from planner.run.phases import Phase
from planner.run.progress import Amount, Course, Progress, ProgressKind

if TYPE_CHECKING:
    from planner.cli.progress_line import ProgressLine

__all__ = ["TerminalReporter", "Then", "progress_option"]

_Words = Callable[[], None]
_UNEXPECTED = (Phase.INSPECTING, Phase.UNDOING, Phase.RESTORING)


class Then(StrEnum):
    """What comes after the step in hand, where a command is told to stop."""

    UNSAID = ""
    UNDONE = "then all that was done is undone"
    WHOLE_OR_NOT = "then the VM is as it was, or the snapshot is loaded whole"
    REMOVED = "then what was started is ended, and what was made is removed"
    STAYS = "then it stops; what is done stays done, and the same command goes on from there"


progress_option = click.option(
    "--progress",
    type=click.Choice(["text", "json", "none"]),
    default="text",
    show_default=True,
    help="How the progress is told on stderr. text: a line that changes, on a terminal only; json: a "
    "JSON object a line; none: not at all.",
)


class TerminalReporter:
    """A `planner.run.ports.Reporter` on stderr; honours ``NO_COLOR``.

    Args:
        form: As `progress_option` has it.  Notes are told in every form.
        then: What comes of a wish to stop.
    """

    def __init__(self, form: str = "text", *, then: Then = Then.UNSAID) -> None:
        self._form = form
        self._then = then
        self._stopping = False
        self._step = ""
        self._course = Course()
        self._began_s = time.monotonic()
        self._status: ProgressLine | None = None
        self._words: queue.SimpleQueue[_Words | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="snapplan-words", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if self._form != "text":
            waiting_line.hold()  # what is asked for has no other lines between its own
        if sys.stderr.isatty() and self._form == "text":
            from planner.cli.progress_line import ProgressLine  # noqa: PLC0415 - it takes its time

            self._status = ProgressLine()
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
        if self._form != "text":
            waiting_line.release()

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
        self._step = f"step {number} of {count}, {what},"
        self._show(self._course.step(number, count, what))

    def amount(self, amount: Amount) -> None:
        """Show the phase, or how far the step in hand is."""
        self._show(self._course.amount(amount))

    def stopping(self) -> None:
        """Say at once that a wish to stop was heard, and what comes of it; once is enough."""
        if self._stopping:
            return
        self._stopping = True
        first = f"{self._step} is ended first" if self._step else "nothing has been done yet"
        then = self._then if self._step else Then.UNSAID
        self.note(f"stopping: {', '.join(filter(None, (first, then)))}")

    def _show(self, progress: Progress) -> None:
        if self._form == "json":
            seconds = time.monotonic() - self._began_s
            line = json.dumps(progress_to_plain(evolve(progress, seconds=seconds)))
            self._words.put(lambda: click.echo(line, err=True))
        elif self._status is not None and _is_shown(progress):
            shown = self._status
            words = visible(str(evolve(progress, bytes_done=None)))
            done, total = progress.bytes_done, progress.bytes_total
            self._words.put(lambda: shown.update(words, done, total))

    def note(self, text: str) -> None:
        """Print a line that stays."""
        if self._form == "json":
            self._show(self._course.note(text))
        elif self._status is not None:
            console = self._status.console
            self._words.put(lambda: console.print(visible(text), highlight=False, markup=False))
        else:
            self._words.put(lambda: click.echo(f"snapplan: {visible(text)}", err=True))


def _is_shown(progress: Progress) -> bool:
    """Whether it is more than that a phase goes on as expected."""
    return progress.kind is not ProgressKind.PHASE or progress.phase in _UNEXPECTED
