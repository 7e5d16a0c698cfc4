"""A snapshot as one that was taken after it remembers it."""

from __future__ import annotations

from attrs import frozen

__all__ = ["Ancestor"]


@frozen(order=True)
class Ancestor:
    """A snapshot that another one was taken after, known also when its tag is given again.

    Attributes:
        tag: Its name.
        started_ns: Host's wall clock when its run began, since the epoch.
    """

    tag: str
    started_ns: int
