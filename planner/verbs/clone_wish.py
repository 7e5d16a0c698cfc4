"""How clones of a template are wanted."""

from __future__ import annotations

from attrs import frozen

from planner.host.processes import Process
from planner.parts.accepting import NOTHING_ACCEPTED, Accepted

__all__ = ["CloneWish"]


@frozen
class CloneWish:
    """How clones are wanted.

    Attributes:
        line: QEMU's command line with its places, in one or as words; empty: the template's own.
        count: How many.
        socket: Where they listen, with ``{clone}`` where there are several; empty: beside the socket of
            the VM that was saved, by number.
        folder: Where their overlays are made; empty: beside the VM's own.
        run: Whether their guests are to run.
        deadline_s: How long reading the devices' state may take, in seconds; None: a minute.
        owner: The program that they end with; None: they stay.
        accepted: What may differ of what was left out of the snapshot.
    """

    line: str | tuple[str, ...] = ""
    count: int = 1
    socket: str = ""
    folder: str = ""
    run: bool = True
    deadline_s: float | None = None
    owner: Process | None = None
    accepted: Accepted = NOTHING_ACCEPTED
