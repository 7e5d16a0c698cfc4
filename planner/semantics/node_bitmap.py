"""A dirty bitmap as a running QEMU has it."""

from __future__ import annotations

from attrs import frozen

from planner.model.facts import Bitmap

__all__ = ["NodeBitmap", "granularity_of", "records"]

_USUAL_GRANULARITY = 65536


@frozen
class NodeBitmap(Bitmap):
    """A bitmap that a client added: beside name and persistence what facts do not keep.

    Attributes:
        recording: Whether it notes what is written from now on.
        granularity: How many bytes one of its bits stands for.
    """

    recording: bool = True
    granularity: int = _USUAL_GRANULARITY


def records(bitmap: Bitmap) -> bool:
    """Whether a bitmap, of facts or of a client, notes what is written."""
    return bitmap.recording if isinstance(bitmap, NodeBitmap) else True


def granularity_of(bitmap: Bitmap) -> int:
    """How many bytes a bit of a bitmap, of facts or of a client, stands for."""
    return bitmap.granularity if isinstance(bitmap, NodeBitmap) else _USUAL_GRANULARITY
