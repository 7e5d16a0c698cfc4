"""Rows as aligned columns: wide characters take the room that a terminal gives them.

Where a width is set, the last column is wrapped below itself; elsewhere (a pipe, a file) each row is one
line, so that scripts read rows as lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from planner.present.visible import Lines, as_lines, visible

__all__ = ["table", "wrapped_at"]

_width: ContextVar[int | None] = ContextVar("width", default=None)


@contextmanager
def wrapped_at(columns: int) -> Iterator[None]:
    """Wrap the last column of each table that is made inside, at a terminal's width in columns."""
    before = _width.set(columns)
    try:
        yield
    finally:
        _width.reset(before)


def table(rows: Sequence[Sequence[str]], indent: str = "") -> Lines:
    """Rows as aligned columns; the last column is as long as it likes, or wrapped (`wrapped_at`)."""
    if not rows:
        return Lines()
    from planner.present.grid import laid_out  # noqa: PLC0415 - rich takes its time

    shown = [[visible(cell) for cell in row] for row in rows]
    return as_lines(laid_out(shown, len(indent), _width.get()))
