"""Writes a run's journal while the run goes on, and holds back what cannot be recorded.

Once a record could not be written nothing more is recorded.  A run that still goes forward is then
stopped at the next thing that it would change; what undoes it is done all the same, since a run that is
half done is worse than an undo that nobody recorded: undo looks at the VM first, whenever it is begun.

A run that waits asks the same again and again, for minutes.  Of these rounds (a pause, a question) only
the last is recorded: each of the others leaves the machine where it was.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from planner.run.actions import Action, NotSent, Poll, Response, Returned, Send
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

_ASKS = ("query-jobs", "query-migrate", "query-status")
_WHOLE_ROUND = 2


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
    _round: list[tuple[Action, Result]] = field(init=False, factory=list)

    def before(self, action: Action, *, forward: bool) -> NotSent | None:
        """Record that an action is about to be done.

        Args:
            action: Which.
            forward: Whether the run still goes on, so that the action must not be done unrecorded.

        Returns:
            What to tell the machine in place of doing it; None: do it.
        """
        if len(self._round) == _WHOLE_ROUND and action == self._round[0][0]:
            self._round.clear()
        elif len(self._round) == _WHOLE_ROUND or not _goes_on(self._round, action):
            self.flush()
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
        quiet = isinstance(response, Returned) and not (events or interrupted)
        if quiet and _goes_on(self._round, action):
            self._round.append((action, result))
            return
        self.flush()
        self._write(result, lasting=changed)

    def flush(self) -> None:
        """Record the round that is held back, since it was the last."""
        for _, result in self._round:
            self._write(result, lasting=False)
        self._round.clear()

    def again(self) -> None:
        """Record that undo is begun anew."""
        self.flush()
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


def _goes_on(waited: Sequence[tuple[Action, Result]], action: Action) -> bool:
    """Whether an action begins a round, or is the question that ends it."""
    if not waited:
        return isinstance(action, Poll)
    return len(waited) < _WHOLE_ROUND and isinstance(action, Send) and action.command in _ASKS


def _plain(action: Action) -> dict[str, object]:
    found = plain(action)
    if not isinstance(found, dict):  # a class is written as a mapping
        raise TypeError("an action is no mapping")
    return found
