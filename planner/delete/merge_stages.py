"""How far the merge of an overlay has come."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["MergeStage"]


class MergeStage(StrEnum):
    """How far the merge of one overlay has come, at the least."""

    UNTOUCHED = "untouched"
    COPYING = "copying"
    """QEMU may have been told to copy: the frozen image may have been written to."""
    SWITCHING = "switching"
    """QEMU may have been told to complete: the guest may write to the image."""
    MERGED = "merged"
    """It is known to be merged, and QEMU has let go of it."""
    REMOVED = "removed"
