"""A line of a story, and who can be in one."""

from __future__ import annotations

from attrs import frozen

__all__ = ["CLIENT", "GUEST", "IMAGES", "OTHER", "QEMU", "Line"]

GUEST, CLIENT, QEMU, OTHER, IMAGES = "guest", "snapplan", "QEMU", "other client", "images"


@frozen
class Line:
    """One line of a story.

    Attributes:
        source: Who does it.
        target: To whom; a disk's name, or one of the others.
        text: What happens, in a sentence without its full stop.
        brief: The same in few words, for a diagram.
        fault: Whether it is a fault.
    """

    source: str
    target: str
    text: str
    brief: str
    fault: bool = False
