"""What each design sends, and how long the guest stands still, as a picture (SVG).

One band a design: above, the guest (running or paused); below, the commands in the order in which they
are sent.  All bands have one scale.  Measured bands are in milliseconds; rehearsed ones in small steps
of QEMU's, which are not of equal length, and the picture says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from attrs import frozen

from planner.compare.comparison import DesignReport
from planner.compare.rehearsal import Span

__all__ = ["timeline_svg"]

_LEFT, _WIDTH, _BAND, _ROW = 130, 760, 30, 18
_RUNS, _PAUSED, _SENT = "#8fbf8f", "#d98880", "#7f9fc6"


@frozen
class _Band:
    """What of one design is drawn."""

    title: str
    spans: tuple[Span, ...]
    pauses: tuple[tuple[str, int], ...]
    end: int


def timeline_svg(reports: Sequence[DesignReport]) -> str:
    """Draw the designs that can do the request, one below the other."""
    able = [report for report in reports if report.rehearsal is not None]
    measured = bool(able) and all(report.measured is not None for report in able)
    bands = [_band(report, measured=measured) for report in able]
    scale = _WIDTH / max([band.end for band in bands] + [1])
    top = 34
    body: list[str] = []
    for band in bands:
        body.extend(_draw(band, top, scale))
        top += 2 * _BAND + _ROW * len(band.spans) + 20
    unit = "milliseconds, measured" if measured else "small steps of QEMU's, not to scale in time"
    size = f'width="{_LEFT + _WIDTH + 180}" height="{top}"'
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<text x="8" y="20">Commands and pause by design ({escape(unit)})</text>',
    ]
    return "\n".join([*head, *body, "</svg>"]) + "\n"


def _band(report: DesignReport, *, measured: bool) -> _Band:
    source = report.measured if measured else report.rehearsal
    spans = source.spans if source is not None else ()
    pauses = source.pauses if source is not None else ()
    end = max([span.end for span in spans] + [at for _, at in pauses] + [1])
    pause = report.measured.pause_us if report.measured is not None and measured else None
    title = report.design if pause is None else f"{report.design}: {pause / 1000:.1f} ms paused"
    return _Band(title, spans, pauses, end)


def _draw(band: _Band, top: int, scale: float) -> Iterator[str]:
    yield f'<text x="8" y="{top + 12}" font-weight="bold">{escape(band.title)}</text>'
    y = top + 20
    yield f'<text x="8" y="{y + 12}">guest</text>'
    yield _bar((0, band.end), y, scale, _RUNS, "runs")
    for begin, end in _stops(band):
        yield _bar((begin, end), y, scale, _PAUSED, "paused")
    for number, span in enumerate(band.spans):
        row = y + _BAND + number * _ROW
        yield f'<text x="8" y="{row + 12}">{number + 1}</text>'
        yield _bar((span.begin, span.end), row, scale, _SENT, span.command)
        x = _LEFT + span.end * scale + 4
        yield f'<text x="{x:.1f}" y="{row + 12}">{escape(span.command)}</text>'


def _stops(band: _Band) -> Iterator[tuple[int, int]]:
    begin: int | None = None
    for name, at in band.pauses:
        if name == "STOP" and begin is None:
            begin = at
        elif name == "RESUME" and begin is not None:
            yield begin, at
            begin = None
    if begin is not None:
        yield begin, band.end


def _bar(times: tuple[int, int], y: int, scale: float, colour: str, title: str) -> str:
    begin, end = times
    x, width = _LEFT + begin * scale, max((end - begin) * scale, 1.0)
    label = quoteattr(title)
    return (
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="14" fill="{colour}" '
        f"aria-label={label}/>"
    )
