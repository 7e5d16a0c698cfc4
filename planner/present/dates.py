"""Dates for a person, in one zone whoever reads them."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["date_text"]


def date_text(epoch_ns: int) -> str:
    """A host's wall clock in nanoseconds since the epoch, as UTC to the second; empty for 0."""
    if not epoch_ns:
        return ""
    try:
        when = datetime.fromtimestamp(epoch_ns // 1_000_000_000, tz=UTC)
    except (OverflowError, ValueError, OSError):
        return ""  # an image may say anything
    return when.strftime("%Y-%m-%d %H:%M:%S UTC")
