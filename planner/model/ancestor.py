"""A snapshot as one that was taken after it remembers it, and the tree that is made of that."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from attrs import frozen

__all__ = ["Ancestor", "nearest"]


@frozen(order=True)
class Ancestor:
    """A snapshot that another one was taken after, known also when its tag is given again.

    Attributes:
        tag: Its name.
        started_ns: Host's wall clock when its run began, since the epoch.
    """

    tag: str
    started_ns: int


def nearest(ancestors: Iterable[Ancestor], known: Collection[Ancestor]) -> str:
    """The tag of the first ancestor that is still recorded; empty: none is."""
    return next((each.tag for each in ancestors if each in known), "")
