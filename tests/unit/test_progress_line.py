"""The line that a terminal shows: bytes, rate and time left, and what a wish to stop is answered."""

import io

import pytest
from rich.console import Console

from planner.cli.progress_line import ProgressLine, amount_words
from planner.cli.reporter import TerminalReporter, Then

MIB = 2**20


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        ((64 * MIB, 256 * MIB, 64 * MIB, 2.0), "64 of 256 MiB, 32 MiB/s, about 0:06 left"),
        ((64 * MIB, 7744 * MIB, 64 * MIB, 1.0), "64 of 7744 MiB, 64 MiB/s, about 2:00 left"),
        ((64 * MIB, None, 32 * MIB, 1.0), "64 MiB, 32 MiB/s"),
        ((64 * MIB, 64 * MIB, 64 * MIB, 1.0), "64 of 64 MiB, 64 MiB/s"),
        ((80 * MIB, 64 * MIB, 64 * MIB, 1.0), "80 of 64 MiB, 64 MiB/s"),
        ((0, 64 * MIB, 0, 1.0), "0 of 64 MiB"),
        ((5 * MIB, 64 * MIB, 5 * MIB, 0.0), "5 of 64 MiB"),
    ],
)
def test_bytes_are_told_with_rate_and_time_left(amount, words):
    """As far as it is known; more than in all, nothing yet and no time are no traps."""
    assert amount_words(*amount) == words


def drawn(line, **how):
    out = io.StringIO()
    Console(file=out, force_terminal=True, width=120, **how).print(line._drawn())
    return out.getvalue()


def test_a_bar_is_drawn_where_all_is_known():
    """Half of it; words of others are no markup."""
    line = ProgressLine()
    line.update("step 1 of 1: [red]save", 32 * MIB, 64 * MIB)
    shown = drawn(line, no_color=True)
    assert "step 1 of 1: [red]save" in shown
    assert "━━━━━━━━━━━━ " in shown
    assert "32 of 64 MiB" in shown
    line.update("step 1 of 1: [red]save", 32 * MIB)
    assert "━" not in drawn(line)


@pytest.mark.parametrize(
    ("then", "stepped", "words"),
    [
        *((then, True, f"step 2 of 4, stop, is ended first, {then}") for then in Then if then),
        (Then.UNSAID, True, "step 2 of 4, stop, is ended first"),
        (Then.UNDONE, False, "nothing has been done yet"),
    ],
)
def test_a_wish_to_stop_is_answered_at_once_and_once(capsys, then, stepped, words):
    """With the step in hand, and what comes of what was done."""
    with TerminalReporter(then=then) as reporter:
        if stepped:
            reporter.step(2, 4, "stop")
        reporter.stopping()
        reporter.stopping()
    assert capsys.readouterr().err == f"snapplan: stopping: {words}\n"


def test_seconds_have_no_style_of_their_own(monkeypatch):
    """With NO_COLOR rich leaves dim and bold be, so what takes long is plain."""
    line = ProgressLine("waiting")
    monkeypatch.setattr(line, "_began_s", line._began_s - 5)
    shown = drawn(line, no_color=True)
    assert " 5 s" in shown
    assert "\x1b[" not in shown
