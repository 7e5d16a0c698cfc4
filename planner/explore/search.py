"""Breadth-first search through everything that can happen.

Breadth first, so the first end that violates a property is reached by a shortest way, and the search
can be bounded by depth and stopped at any moment with a true account of what is known.

Rules: deterministic: the same setting gives the same report.  No clock, no output: `run` yields after
each batch, so that a caller can tell progress, stop, or measure.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field, frozen

from planner.errors import InternalError
from planner.explore.breadth_first import BreadthFirst, SearchAccount, SearchProgress
from planner.explore.end import End
from planner.explore.forgetting import Forgetting
from planner.explore.moves import Moves, Reductions
from planner.explore.properties import Property, noticed, properties_asked
from planner.explore.state import Act, Action, ClientPhase, Setting, State
from planner.explore.symmetry import Symmetry

__all__ = ["Counterexample", "SearchProgress", "SearchReport", "Search", "StoryMove", "explore"]

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
class SearchReport(SearchAccount):
    """What a search knows.

    Attributes:
        setting: What was explored.
        violations: By property, a shortest run that violates it.
        example: A shortest run that is done.
    """

    setting: Setting
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
class Search(BreadthFirst[State, Action]):
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
    _forgetting: Forgetting = field(init=False)
    _properties: tuple[Property, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.moves = Moves(self.setting, self.reductions)
        self._symmetry = Symmetry(self.setting, self.moves.vm)
        self._forgetting = Forgetting(self.setting)
        self._properties = properties_asked(self.setting)

    def _longest(self) -> int:
        return self.bound

    def _begin(self) -> tuple[State, Action]:
        return self._canonical(self.moves.start()), Action(Act.LOOK)  # no way leads to the start

    def _following(self, state: State) -> Iterator[tuple[Action, State]]:
        for action, after in self.moves.of(state):
            yield action, self._canonical(after)

    def _canonical(self, state: State) -> State:
        state = self._forgotten(state)
        if not self.reductions.symmetry or not self._symmetry.finds_any:
            return state
        return self._symmetry.canonical(state)

    def _forgotten(self, state: State) -> State:
        return self._forgetting.forgotten(state) if self.reductions.forgetting else state

    def _key(self, state: State) -> object:
        return hash(state) if self.reductions.hashed else state

    def _broken(self, state: State) -> Iterator[tuple[str, str]]:
        end = End.of(self.setting, state, self.moves.layers)
        for wanted in self._properties:
            why = "" if wanted.id in self._found else wanted.broken(end)
            if why:
                yield wanted.id, why

    # --- the account ------------------------------------------------------------------------------

    def report(self) -> SearchReport:
        """What is known now."""
        violations = tuple(
            self._counterexample(wanted.id)
            for wanted in self._properties
            if wanted.id in self._found
        )
        return SearchReport(
            setting=self.setting,
            violations=violations,
            example=self._replayed(self._example) if self._example else (),
            **self._told(),
        )

    def _counterexample(self, property_id: str) -> Counterexample:
        found = self._found[property_id]
        moves = self._replayed(found.place)
        end = End.of(self.setting, moves[-1].after, self.moves.layers)
        wanted = next(p for p in self._properties if p.id == property_id)
        return Counterexample(property_id, wanted.broken(end), moves, noticed(end))

    def _replayed(self, place: int) -> tuple[StoryMove, ...]:
        """The way to a state, told with disks that keep their names."""
        state, represented = self.moves.start(), self._canonical(self.moves.start())
        taken = []
        everything = Moves(self.setting, Reductions.none(), self.moves.layers)
        for action in self._steps(place):
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
                kept = self._forgotten(after)
                if self._canonical(kept) == wanted:
                    return StoryMove(action, state, kept)
        raise InternalError("the way to a counterexample cannot be told")


def explore(setting: Setting, reductions: Reductions | None = None, bound: int = 0) -> SearchReport:
    """Search to the end and report."""
    search = Search(setting, reductions or Reductions(), bound)
    for _ in search.run():
        pass
    return search.report()
