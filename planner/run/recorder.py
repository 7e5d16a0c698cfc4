"""Writes a run's journal while the run goes on, and holds back what cannot be recorded.

Once a record could not be written nothing more is recorded.  A run that still goes forward is then
stopped at the next thing that it would change; what undoes it is done all the same, since a run that is
half done is worse than an undo that nobody recorded: undo looks at the VM first, whenever it is begun.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define

from planner.run.actions import Action, NotSent, Response
from planner.run.journal import (
    Again,
    Intent,
    Record,
    Result,
    changes_something,
    journal_line,
)
from planner.run.journal_values import plain
from planner.run.ports import Event, JournalFailed, JournalStore

__all__ = ["Recorder"]


@define
class Recorder:
    """Records one run.

    Attributes:
        store: Where to.
        number: Number of the next record.
        broken: Why nothing is recorded any more; empty: all is.
    """

    store: JournalStore
    number: int = 1
    broken: str = ""

    def before(self, action: Action, *, forward: bool) -> NotSent | None:
        """Record that an action is about to be done.

        Args:
            action: Which.
            forward: Whether the run still goes on, so that the action must not be done unrecorded.

        Returns:
            What to tell the machine in place of doing it; None: do it.
        """
        if not changes_something(action):
            return None
        self._write(Intent(_plain(action)), lasting=True)
        if self.broken and forward:
            return NotSent("journal-unwritable", f"the journal cannot be written: {self.broken}")
        return None

    def after(
        self, action: Action, response: Response, events: Sequence[Event], *, interrupted: bool
    ) -> None:
        """Record what came of it."""
        changed = changes_something(action)
        result = Result(_plain(action), response, tuple(events), interrupted, changed)
        self._write(result, lasting=changed)

    def again(self) -> None:
        """Record that undo is begun anew."""
        self._write(Again(), lasting=True)

    def _write(self, record: Record, *, lasting: bool) -> None:
        if self.broken:
            return
        try:
            self.store.append(journal_line(self.number, record), lasting=lasting)
        except JournalFailed as failed:
            self.broken = str(failed)
        except Exception as error:  # noqa: BLE001 - what cannot be recorded must not end an undo either
            self.broken = f"{type(error).__name__}: {error}"
        else:
            self.number += 1


def _plain(action: Action) -> dict[str, object]:
    found = plain(action)
    if not isinstance(found, dict):  # a class is written as a mapping
        raise TypeError("an action is no mapping")
    return found
