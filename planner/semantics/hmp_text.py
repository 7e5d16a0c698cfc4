"""What the human monitor writes about snapshots, as text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from planner.semantics.qcow2 import LayerSnapshot

__all__ = ["automatic_tag", "error_text", "snapshot_lists"]

_SUFFIXES = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def error_text(words: str) -> str:
    """An error, as the reply of `human-monitor-command` has it."""
    return f"Error: {words}\r\n"


def automatic_tag(host_ns: int) -> str:
    """The name that `savevm` gives by itself: the host's time, which is UTC here."""
    return f"vm-{_date(host_ns):%Y%m%d%H%M%S}"


def snapshot_lists(
    whole: Sequence[LayerSnapshot],
    partial: Sequence[tuple[str, Sequence[LayerSnapshot]]],
    *,
    wide: bool,
) -> str:
    """The reply of ``info snapshots``.

    Args:
        whole: What every disk has.
        partial: What some lack, by the ``-drive`` id of the disk that has it.
        wide: Whether it is written as QEMU 10.0 does; 7.2 has other widths.
    """
    return "".join(f"{line}\r\n" for line in _lines(whole, partial, wide=wide))


def _lines(
    whole: Sequence[LayerSnapshot],
    partial: Sequence[tuple[str, Sequence[LayerSnapshot]]],
    *,
    wide: bool,
) -> Iterator[str]:
    if not whole and not partial:
        yield "There is no snapshot available."
        return
    yield "List of snapshots present on all disks:"
    if whole:
        yield _header(wide=wide)
        yield from (_row("--", snapshot, wide=wide) for snapshot in whole)
    else:
        yield "None"
    for name, held in partial:
        yield ""
        yield f"List of partial (non-loadable) snapshots on '{name}':"
        yield _header(wide=wide)
        yield from (_row(snapshot.id, snapshot, wide=wide) for snapshot in held)


def _header(*, wide: bool) -> str:
    size, clock = ("VM_SIZE", "VM_CLOCK") if wide else ("VM SIZE", "VM CLOCK")
    return _columns(("ID", "TAG", size, "DATE", clock, "ICOUNT"), wide=wide)


def _row(shown_id: str, snapshot: LayerSnapshot, *, wide: bool) -> str:
    seconds, ns = divmod(snapshot.vm_clock_ns, 10**9)
    minutes, hours = seconds // 60 % 60, seconds // 3600
    digits = 4 if wide else 2
    clock = f"{hours:0{digits}}:{minutes:02}:{seconds % 60:02}.{ns // 10**6:03}"
    date = f"{_date(snapshot.date_ns):%Y-%m-%d %H:%M:%S}"
    size = _size(snapshot.vm_state_size_bytes)
    count = "--" if wide else ""
    return _columns((shown_id, snapshot.name, size, date, clock, count), wide=wide)


def _columns(cells: tuple[str, str, str, str, str, str], *, wide: bool) -> str:
    number, tag, size, date, clock, count = cells
    id_width, clock_width = (7, 15) if wide else (9, 12)
    return f"{number:<{id_width}} {tag:<16} {size:>8} {date:>19} {clock:>{clock_width}} {count:>10}"


def _size(count_bytes: int) -> str:
    _, exponent = math.frexp(count_bytes / (1000 / 1024))
    unit = max(0, (exponent - 1) // 10)
    return f"{count_bytes / (1 << (10 * unit)):.3g} {_SUFFIXES[unit]}B"


def _date(host_ns: int) -> datetime:
    return datetime.fromtimestamp(host_ns // 10**9, UTC)
