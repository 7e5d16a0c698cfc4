"""Breadth-first search through everything that can happen.

Breadth first, so the first end that violates a property is reached by a shortest way, and the search
can be bounded by depth and stopped at any moment with a true account of what is known.

Rules: deterministic: the same setting gives the same report.  No clock, no output: `run` yields after
each batch, so that a caller can tell progress, stop, or measure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from attrs import define, field, frozen

from planner.errors import InternalError
from planner.explore.end import End
from planner.explore.moves import Moves, Reductions
from planner.explore.properties import PROPERTIES, noticed
from planner.explore.state import Act, Action, ClientPhase, Setting, State
from planner.explore.symmetry import Symmetry

__all__ = ["Counterexample", "SearchProgress", "SearchReport", "Search", "StoryMove", "explore"]

_BATCH = 2000
_COSTS_SPACE_ONLY = frozenset({"no-vmstate-left"})


@frozen
class StoryMove:
    """One move of a story."""

    action: Action
    before: State
    after: State


@frozen
class Counterexample:
    """A shortest run that violates a property.

    Attributes:
        property_id: The property's id.
        why: What is wrong at its end.
        moves: The run.
        noticed: What snapplan's own last look would have said; empty: nothing.
    """

    property_id: str
    why: str
    moves: tuple[StoryMove, ...]
    noticed: str = ""

    @property
    def done(self) -> bool:
        """Whether the run ends with the client saying that the snapshot is there."""
        return self.moves[-1].after.phase == ClientPhase.DONE


@frozen
class SearchProgress:
    """How far a search is."""

    states: int
    transitions: int
    depth: int
    waiting: int


@frozen
class SearchReport:
    """What a search knows.

    Attributes:
        setting: What was explored.
        states: How many different states were met.
        transitions: How many moves were made.
        depth: How many moves the longest of the shortest ways has.
        finished: Whether everything was explored.
        stopped: Why not: ``bound`` or ``interrupted``; empty if finished.
        ends: How many ends of each kind there are.
        violations: By property, a shortest run that violates it.
        example: A shortest run that is done.
    """

    setting: Setting
    states: int
    transitions: int
    depth: int
    finished: bool
    stopped: str
    ends: tuple[tuple[str, int], ...]
    violations: tuple[Counterexample, ...]
    example: tuple[StoryMove, ...] = ()

    @property
    def violated(self) -> tuple[str, ...]:
        """The ids of the violated properties, in the properties' order."""
        return tuple(found.property_id for found in self.violations)

    @property
    def shortest(self) -> Counterexample | None:
        """The shortest counterexample; of what only costs space, if nothing worse is violated."""
        return min(
            self.violations,
            key=lambda found: (found.property_id in _COSTS_SPACE_ONLY, len(found.moves)),
            default=None,
        )


@define
class _Found:
    why: str
    place: int


@define
class Search:
    """A search that can be watched and stopped.

    Attributes:
        setting: What to explore.
        reductions: What to leave out.
        bound: Ways longer than this are not followed; 0: no bound.
    """

    setting: Setting
    reductions: Reductions = field(factory=Reductions)
    bound: int = 0
    moves: Moves = field(init=False)
    _symmetry: Symmetry = field(init=False)
    # the way to each state: where it was met first, and by which action
    _ways: list[tuple[int, Action]] = field(init=False, factory=list)
    _seen: set[object] = field(init=False, factory=set)
    _frontier: list[tuple[int, State]] = field(init=False, factory=list)
    _found: dict[str, _Found] = field(init=False, factory=dict)
    _ends: Counter[str] = field(init=False, factory=Counter)
    _transitions: int = field(init=False, default=0)
    _depth: int = field(init=False, default=0)
    _done: int = field(init=False, default=0)
    _stopped: str = field(init=False, default="interrupted")

    def __attrs_post_init__(self) -> None:
        self.moves = Moves(self.setting, self.reductions)
        self._symmetry = Symmetry(self.setting, self.moves.vm)

    def run(self) -> Iterator[SearchProgress]:
        """Search; yields now and then.  To stop early, simply do not go on."""
        start = self._canonical(self.moves.start())
        self._ways.append((-1, Action(Act.LOOK)))  # the start: no way leads there
        self._seen.add(self._key(start))
        self._frontier = [(0, start)]
        while self._frontier:
            if self.bound and self._depth >= self.bound:
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

    def _expand(self, place: int, state: State) -> None:
        for action, after in self.moves.of(state):
            self._transitions += 1
            met = self._canonical(after)
            key = self._key(met)
            if key in self._seen:
                continue
            self._seen.add(key)
            self._ways.append((place, action))
            if met.phase >= ClientPhase.DONE:
                self._judge(met, len(self._ways) - 1)
            else:
                self._frontier.append((len(self._ways) - 1, met))

    def _canonical(self, state: State) -> State:
        if not self.reductions.symmetry or not self._symmetry.classes:
            return state
        return self._symmetry.canonical(state)

    def _key(self, state: State) -> object:
        return hash(state) if self.reductions.hashed else state

    def _judge(self, state: State, place: int) -> None:
        end = End.of(self.setting, state, self.moves.layers)
        self._ends["QEMU dead" if state.dead else ClientPhase(state.phase).name.lower()] += 1
        if end.done and not self._done:
            self._done = place
        for wanted in PROPERTIES:
            if wanted.id not in self._found:
                why = wanted.broken(end)
                if why:
                    self._found[wanted.id] = _Found(why, place)

    # --- the account ------------------------------------------------------------------------------

    def report(self) -> SearchReport:
        """What is known now."""
        violations = tuple(
            self._counterexample(wanted.id) for wanted in PROPERTIES if wanted.id in self._found
        )
        return SearchReport(
            setting=self.setting,
            states=len(self._ways),
            transitions=self._transitions,
            depth=self._depth,
            finished=not self._stopped,
            stopped=self._stopped,
            ends=tuple(sorted(self._ends.items())),
            violations=violations,
            example=self._replayed(self._done) if self._done else (),
        )

    def _counterexample(self, property_id: str) -> Counterexample:
        found = self._found[property_id]
        moves = self._replayed(found.place)
        end = End.of(self.setting, moves[-1].after, self.moves.layers)
        wanted = next(p for p in PROPERTIES if p.id == property_id)
        return Counterexample(property_id, wanted.broken(end), moves, noticed(end))

    def _replayed(self, place: int) -> tuple[StoryMove, ...]:
        """The way to a state, told with disks that keep their names."""
        actions: list[Action] = []
        while place:
            place, action = self._ways[place]
            actions.append(action)
        state, represented = self.moves.start(), self._canonical(self.moves.start())
        taken = []
        everything = Moves(self.setting, Reductions.none(), self.moves.layers)
        for action in reversed(actions):
            represented = self._canonical(
                next(after for a, after in self.moves.of(represented) if a == action)
            )
            step = self._same_step(everything, state, represented)
            taken.append(step)
            state = step.after
        return tuple(taken)

    def _same_step(self, everything: Moves, state: State, wanted: State) -> StoryMove:
        for moves in (self.moves, everything):
            for action, after in moves.of(state):
                if self._canonical(after) == wanted:
                    return StoryMove(action, state, after)
        raise InternalError("the way to a counterexample cannot be told")


def explore(setting: Setting, reductions: Reductions | None = None, bound: int = 0) -> SearchReport:
    """Search to the end and report."""
    search = Search(setting, reductions or Reductions(), bound)
    for _ in search.run():
        pass
    return search.report()
