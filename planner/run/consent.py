"""A person's word for what is destroyed.  A question takes time, and the world does not wait for it.

What was decided before a question may be untrue after it: a VM is started on the images, another client
takes a snapshot of the same tag, a save ends.  So it is decided again once the answer is there; where
that comes out otherwise nothing is done.  A lock keeps other snapplans away, and nobody else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from planner.errors import Problem, Refused

__all__ = ["changed_while_asked", "decide_and_ask"]

_Decision = TypeVar("_Decision")


async def decide_and_ask(
    decide: Callable[[], Awaitable[_Decision]], ask: Callable[[_Decision], bool], subject: str
) -> _Decision:
    """Decide what is to be done, ask for it, and make sure that it still is what was asked for.

    Args:
        decide: Looks at the VM or the images and decides; it changes nothing, and may be called twice.
        ask: Asks, and says whether it had to; raises where the answer is no.
        subject: The tag that it is about.

    Returns:
        What to do, as it was last decided.

    Raises:
        Refused: It would be decided otherwise now (``changed-while-asked``).
    """
    decision = await decide()
    if not ask(decision):
        return decision
    again = await decide()
    if again != decision:
        raise changed_while_asked(subject)
    return again


def changed_while_asked(subject: str) -> Refused:
    """The error for an answer to a question that is out of date."""
    problem = Problem(
        "changed-while-asked",
        subject,
        "what was asked about has changed while the question was open; nothing was done",
        "give the command again, and look at what it asks now",
    )
    return Refused.of(problem)
