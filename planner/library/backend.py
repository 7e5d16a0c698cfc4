"""What a backend is made of, for whoever writes one.

A backend is one class that keeps to `Backend`, and one function that connects it::

    async def connect(address: str) -> Backend

named by an entry point of the group ``snapplan.backends``; its name is what stands before the colon in
``--vm NAME:ADDRESS``.  What an address looks like is the backend's own affair.

Rules: it never hides whether a command may have taken effect (`CommandRefused`: no; `ConnectionLost` and
`NoReply`: nobody knows); commands are sent in the order of their calls; events are kept in their order
until they are taken, each once; after `close` or a loss every call raises `ConnectionLost` at once.
`python -m snapplan.conformance.backend NAME:ADDRESS` checks all of it on a VM that nobody needs.
"""

from __future__ import annotations

from planner.errors import BadInput, CannotConnect, Problem
from planner.run.ports import (
    Backend,
    CommandRefused,
    ConnectionLost,
    Event,
    Host,
    HostRefused,
    Images,
    NoReply,
)

__all__ = [
    "Backend",
    "BadInput",
    "CannotConnect",
    "CommandRefused",
    "ConnectionLost",
    "Event",
    "Host",
    "HostRefused",
    "Images",
    "NoReply",
    "Problem",
]
