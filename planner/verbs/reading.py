"""Whoever waits while a snapshot's files are read is told how far that is."""

from __future__ import annotations

from planner.host.evidence import OnRead
from planner.run.ports import Reporter
from planner.run.progress import VERIFYING, Amount
from planner.run.reporting import telling

__all__ = ["on_read"]


def on_read(reporter: Reporter | None) -> OnRead:
    """Tells a reporter how many bytes are read, and of how many."""
    teller = telling(reporter)
    return lambda done, total: teller.amount(Amount(VERIFYING, done, total))
