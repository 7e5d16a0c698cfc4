"""stdout and stderr that never fail: what cannot be written is lost, and remembered.

Rules: whoever reads us may be gone, a log's disk may be full, a descriptor may be closed; that stops no
run, and changes no exit code that says what became of a VM.  It is found out in one place, below all
buffers, so that nothing above needs to know.  Before Python's own shutdown writes anything, nothing is
left that could fail.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from typing import Any, TextIO

from planner.cli import waiting_line
from planner.cli.guarded import Guarded

__all__ = ["lost_output", "open_streams"]

_STDOUT, _STDERR = 1, 2


class _Lossy(io.FileIO):
    """A descriptor; what it refuses to take counts as written, once and for all."""

    error: OSError | None = None
    at_terminal = False

    def write(self, data: Any) -> int:
        """Write, or lose it; how much of it needs no second try."""
        if not self.at_terminal:
            return self._written(data)
        with waiting_line.free_for(data):
            return self._written(data)

    def _written(self, data: Any) -> int:
        while self.error is None:
            try:
                written: int | None = super().write(data)
            except OSError as error:
                self.error = error
            else:
                if written is not None:
                    return written
                # Somebody else made it non-blocking, and it is full.
                select.select((), (self.fileno(),), ())
        return memoryview(data).nbytes


_opened: dict[int, _Lossy] = {}


def open_streams() -> None:
    """Take stdout and stderr, where they are the process's own; those that are closed are made up for.

    A file that is opened later would else get the descriptor of a closed one, and our words with it.
    """
    for descriptor in (0, _STDOUT, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            # Read-only: to write there fails as it would without it.
            os.open(os.devnull, os.O_RDONLY)
    sys.stdout = _taken(sys.stdout, _STDOUT)
    sys.stderr = _taken(sys.stderr, _STDERR)


def _taken(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is not None:
        try:
            if stream.fileno() != descriptor:
                return stream
        except (OSError, ValueError):
            return stream  # a test's, or an embedder's
        with contextlib.suppress(OSError):
            stream.flush()
    raw = _opened[descriptor] = _Lossy(descriptor, "w", closefd=False)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    raw.at_terminal = raw.isatty()
    by_line = raw.at_terminal or descriptor == _STDERR
    return Guarded(io.BufferedWriter(raw), encoding, line_buffering=by_line)


def lost_output() -> OSError | None:
    """Why a part of what went to stdout is lost; None: nothing is."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    raw = _opened.get(_STDOUT)
    return None if raw is None else raw.error
