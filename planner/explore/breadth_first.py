"""A breadth-first search through the runs of a design; what is a step and what is judged, a search says.

Theory: each state is met first on a shortest way, and the way is kept as where it was met and by which
step.  So the first state that violates a property ends a shortest counterexample.

Rules: deterministic; it can be watched and stopped, and says then what is known.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import Generic, Protocol, TypedDict, TypeVar

from attrs import define, field, frozen

from planner.explore.acts import ClientPhase

__all__ = ["BreadthFirst", "Found", "SearchAccount", "SearchProgress"]

_BATCH = 2000


class _Ending(Protocol):
    @property
    def phase(self) -> int:
        """Where the client is."""

    @property
    def dead(self) -> int:
        """Whether QEMU is."""


_State = TypeVar("_State", bound=_Ending)
_Step = TypeVar("_Step")


@frozen
class SearchProgress:
    """How far a search is."""

    states: int
    transitions: int
    depth: int
    waiting: int


@frozen
class SearchAccount:
    """What a search has done.

    Attributes:
        states: How many different states were met.
        transitions: How many moves were made.
        depth: How many moves the longest of the shortest ways has.
        finished: Whether everything was explored.
        stopped: Why not: ``bound`` or ``interrupted``; empty if finished.
        ends: How many ends of each kind there are.
    """

    states: int
    transitions: int
    depth: int
    finished: bool
    stopped: str
    ends: tuple[tuple[str, int], ...]


class Told(TypedDict):
    """The account's fields, for a report that has more."""

    states: int
    transitions: int
    depth: int
    finished: bool
    stopped: str
    ends: tuple[tuple[str, int], ...]


@frozen
class Found:
    """A violation.

    Attributes:
        why: What is wrong.
        place: The number of the state in which it is.
        done: Whether the run ends there with the client saying that all is well.
    """

    why: str
    place: int
    done: bool


@define
class BreadthFirst(ABC, Generic[_State, _Step]):
    """A search that can be watched and stopped."""

    # the way to each state: where it was met first, and by which step
    _ways: list[tuple[int, _Step]] = field(init=False, factory=list)
    _seen: set[object] = field(init=False, factory=set)
    _frontier: list[tuple[int, _State]] = field(init=False, factory=list)
    _found: dict[str, Found] = field(init=False, factory=dict)
    _ends: Counter[str] = field(init=False, factory=Counter)
    _transitions: int = field(init=False, default=0)
    _depth: int = field(init=False, default=0)
    _example: int = field(init=False, default=0)
    _stopped: str = field(init=False, default="interrupted")

    @abstractmethod
    def _begin(self) -> tuple[_State, _Step]:
        """The first state, and a step that stands for none."""

    @abstractmethod
    def _following(self, state: _State) -> Iterator[tuple[_Step, _State]]:
        """Every step from a state, and the state that it leads to."""

    @abstractmethod
    def _broken(self, state: _State) -> Iterator[tuple[str, str]]:
        """Of a run's end, each property that is violated and was not before, and why."""

    @abstractmethod
    def _longest(self) -> int:
        """Ways longer than this are not followed; 0: no bound."""

    def _key(self, state: _State) -> object:
        return state

    def run(self) -> Iterator[SearchProgress]:
        """Search; yields now and then.  To stop early, simply do not go on."""
        start, none = self._begin()
        self._ways.append((-1, none))
        self._seen.add(self._key(start))
        self._frontier = [(0, start)]
        while self._frontier:
            if self._longest() and self._depth >= self._longest():
                self._stopped = "bound"
                return
            yield from self._level()
        self._stopped = ""

    def _level(self) -> Iterator[SearchProgress]:
        level, self._frontier = self._frontier, []
        for count, (place, state) in enumerate(level, start=1):
            self._expand(place, state)
            if count % _BATCH == 0:
                yield self._progress(len(level) - count)
        if self._frontier:
            self._depth += 1
        yield self._progress(0)

    def _progress(self, rest: int) -> SearchProgress:
        waiting = len(self._frontier) + rest
        return SearchProgress(len(self._ways), self._transitions, self._depth, waiting)

    def _expand(self, place: int, state: _State) -> None:
        for step, after in self._following(state):
            self._transitions += 1
            key = self._key(after)
            if key in self._seen:
                continue
            self._seen.add(key)
            self._ways.append((place, step))
            if after.phase >= ClientPhase.DONE:
                self._judge(after, len(self._ways) - 1)
            else:
                self._frontier.append((len(self._ways) - 1, after))

    def _judge(self, state: _State, place: int) -> None:
        phase = ClientPhase(state.phase)
        self._ends["QEMU dead" if state.dead else phase.name.lower()] += 1
        done = phase is ClientPhase.DONE
        if done and not self._example:
            self._example = place
        for property_id, why in self._broken(state):
            self._found[property_id] = Found(why, place, done)

    def _told(self) -> Told:
        return Told(
            states=len(self._ways),
            transitions=self._transitions,
            depth=self._depth,
            finished=not self._stopped,
            stopped=self._stopped,
            ends=tuple(sorted(self._ends.items())),
        )

    def _steps(self, place: int) -> list[_Step]:
        """The way to a state, from the beginning."""
        steps: list[_Step] = []
        while place:
            place, step = self._ways[place]
            steps.append(step)
        return steps[::-1]
