"""Progress on stderr: one line that changes on a terminal; nothing but notes elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.markup import escape
from rich.status import Status

__all__ = ["TerminalReporter"]


class TerminalReporter:
    """A `planner.execute.ports.Reporter` on stderr; honours ``NO_COLOR``."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Take the progress line away while the user is asked something."""
        if self._status is None:
            yield
            return
        self._status.stop()
        try:
            yield
        finally:
            self._status.start()

    def step(self, number: int, count: int, what: str) -> None:
        """Show the step that is about to be sent."""
        if self._status is not None:
            self._status.update(escape(f"step {number} of {count}: {what}"))

    def note(self, text: str) -> None:
        """Print a line that stays."""
        if self._status is not None:
            self._console.print(escape(text), highlight=False)
        else:
            click.echo(f"snapplan: {text}", err=True)
