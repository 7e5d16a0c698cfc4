"""Every run of a design that loads or deletes, breadth first; the report is as that of `search`."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field, frozen

from planner.explore.back import BackSetting, BackState
from planner.explore.back_moves import BackMoves
from planner.explore.back_properties import BackProperty, back_properties
from planner.explore.breadth_first import BreadthFirst, SearchAccount
from planner.explore.line import Line

__all__ = ["BackCounterexample", "BackReport", "BackSearch"]


_NO_LINE = Line("", "", "", "")
"""Of the start: no way leads there."""


@frozen
class BackCounterexample:
    """A shortest run that violates a property.

    Attributes:
        property_id: The property's id.
        why: What is wrong at its end.
        story: The run.
        done: Whether it ends with the client saying that all is well.
    """

    property_id: str
    why: str
    story: tuple[Line, ...]
    done: bool
    noticed: str = ""


@frozen
class BackReport(SearchAccount):
    """What a search knows; as `SearchReport`.

    Attributes:
        setting: What was explored.
        violations: By property, a shortest run that violates it.
        example: A shortest run that is done.
    """

    setting: BackSetting
    violations: tuple[BackCounterexample, ...]
    example: tuple[Line, ...] = ()

    @property
    def violated(self) -> tuple[str, ...]:
        """The ids of the violated properties, in the properties' order."""
        return tuple(found.property_id for found in self.violations)

    @property
    def shortest(self) -> BackCounterexample | None:
        """The shortest counterexample."""
        return min(self.violations, key=lambda found: len(found.story), default=None)


@define
class BackSearch(BreadthFirst[BackState, Line]):
    """A search that can be watched and stopped; as `Search`.

    Attributes:
        setting: What to explore.
        bound: Ways longer than this are not followed; 0: no bound.
    """

    setting: BackSetting
    bound: int = 0
    _moves: BackMoves = field(init=False)
    _properties: tuple[BackProperty, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._moves = BackMoves(self.setting)
        self._properties = back_properties(self.setting.purpose)

    def _longest(self) -> int:
        return self.bound

    def _begin(self) -> tuple[BackState, Line]:
        return self.setting.start(), _NO_LINE

    def _following(self, state: BackState) -> Iterator[tuple[Line, BackState]]:
        return iter(self._moves.of(state))

    def _broken(self, state: BackState) -> Iterator[tuple[str, str]]:
        for wanted in self._properties:
            why = "" if wanted.id in self._found else wanted.broken(self.setting, state)
            if why:
                yield wanted.id, why

    def report(self) -> BackReport:
        """What is known now."""
        violations = tuple(
            BackCounterexample(wanted.id, found.why, tuple(self._steps(found.place)), found.done)
            for wanted in self._properties
            if (found := self._found.get(wanted.id)) is not None
        )
        return BackReport(
            setting=self.setting,
            violations=violations,
            example=tuple(self._steps(self._example)) if self._example else (),
            **self._told(),
        )
