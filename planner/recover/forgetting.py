"""Gives up a run that did not end: its journal goes, and what it left stays as it is.

Somebody was shown the run before.  Under the lock it is read again: a journal that has grown since is
one that somebody recovers, and what it says now nobody has agreed to.
"""

from __future__ import annotations

from planner.load.load_run import LoadRun
from planner.recover.recovery import Pending, pending_run
from planner.run.consent import changed_while_asked
from planner.store.current import set_current

__all__ = ["forget_run"]


def forget_run(shown: Pending) -> None:
    """Remove the journal of a run; one that has ended meanwhile is no error.

    Raises:
        Refused: Another snapplan is at work on the VM (``vm-locked``), or has been meanwhile
            (``changed-while-asked``).
        BadInput: It cannot be removed (``store-unwritable``).
    """
    with shown.vm.locked():
        now = pending_run(shown.vm, shown.path)
        if now is None:
            return
        if _extent(now) != _extent(shown):
            raise changed_while_asked(str(shown.path))
        if now.replayed is not None and isinstance(now.replayed.run, LoadRun):
            set_current(shown.vm, ())  # whether it was loaded nobody will know
        shown.vm.forget_journal(shown.path)


def _extent(pending: Pending) -> tuple[object, ...]:
    """A journal only ever grows, and no two runs have one name."""
    size = None if pending.journal is None else pending.journal.size_bytes
    return size, pending.problems
