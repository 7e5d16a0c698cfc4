"""Telling somebody never stops a run: words go to a reporter, and what it raises goes no further.

All of it goes to the log as well (logger ``snapplan.run``, level info), whoever else is told.

Rules: a reporter may be a terminal that was closed, a log on a full disk, or somebody's callback with a
bug.  Whoever fails once is not told anything more; the run has better things to do than to try again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from attrs import define

from planner.run.actions import Tell
from planner.run.ports import Reporter
from planner.run.progress import Amount

__all__ = ["Teller", "tell", "telling"]

_LOG = logging.getLogger("snapplan.run")


@define
class Teller:
    """A `planner.run.ports.Reporter` that never fails.

    Attributes:
        reporter: Who is told; None: nobody, or nobody any more.
    """

    reporter: Reporter | None = None

    def step(self, number: int, count: int, what: str) -> None:
        """Pass it on; see `planner.run.ports.Reporter.step`."""
        _log(f"step {number} of {count}: {what}")
        if self.reporter is not None:
            self._pass_on(lambda to: to.step(number, count, what))

    def note(self, text: str) -> None:
        """Pass it on; see `planner.run.ports.Reporter.note`."""
        _log(text)
        if self.reporter is not None:
            self._pass_on(lambda to: to.note(text))

    def amount(self, amount: Amount) -> None:
        """Pass it on; see `planner.run.ports.Reporter.amount`."""
        if self.reporter is not None:
            self._pass_on(lambda to: to.amount(amount))

    def _pass_on(self, say: Callable[[Reporter], None]) -> None:
        if self.reporter is None:
            return
        try:
            say(self.reporter)
        except Exception:  # noqa: BLE001 - whatever it is, the guest must not wait for it
            self.reporter = None


def _log(text: str) -> None:
    """Log it in one line, whatever names are in it."""
    if _LOG.isEnabledFor(logging.INFO):
        shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
        _LOG.info("%s", "".join(shown))


def telling(reporter: Reporter | None) -> Teller:
    """A reporter that never fails, of one that may."""
    return reporter if isinstance(reporter, Teller) else Teller(reporter)


def tell(reporter: Reporter, action: Tell) -> None:
    """Tell what a machine wants told: the step that it is at, or a note."""
    if action.step:
        reporter.step(action.step, action.count, action.text)
    else:
        reporter.note(action.text)
