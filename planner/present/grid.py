"""Cells in columns, laid out by rich."""

from __future__ import annotations

import io
from collections.abc import Sequence

__all__ = ["laid_out"]

_UNLIMITED = 1_000_000
_GAP = 2  # spaces between two columns
_NARROWEST_LAST = 24  # columns of a terminal; where less is left, the last column is not wrapped


def laid_out(rows: Sequence[Sequence[str]], indent: int, width: int | None) -> list[str]:
    """Lines of a table without rules.

    Args:
        rows: Cells that are safe to show; all rows have as many.
        indent: Spaces before the first column.
        width: Of the terminal, in columns: the last column is wrapped there; None: each row is one line.
    """
    # What shows no table need not load it.
    from rich.cells import cell_len  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.padding import Padding  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    columns = list(zip(*rows, strict=True))
    left = indent + sum(max(map(cell_len, column)) + _GAP for column in columns[:-1])
    wrapped = width is not None and width - left >= _NARROWEST_LAST
    grid = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
    for _ in columns[:-1]:
        grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))
    page = io.StringIO()
    console = Console(
        file=page,
        width=width if wrapped else _UNLIMITED,
        color_system=None,
        legacy_windows=False,
    )
    console.print(Padding(grid, (0, 0, 0, indent), expand=False))
    return [line.rstrip() for line in page.getvalue().splitlines()]
