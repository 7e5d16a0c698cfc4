"""Every run of a design that loads or deletes, breadth first; the report is as that of `search`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from attrs import define, field, frozen

from planner.explore.acts import ClientPhase
from planner.explore.back import BackSetting, BackState
from planner.explore.back_moves import BackMoves
from planner.explore.back_properties import BackProperty, back_properties
from planner.explore.line import Line
from planner.explore.search import SearchProgress

__all__ = ["BackCounterexample", "BackReport", "BackSearch"]

_BATCH = 2000


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
class BackReport:
    """What a search knows; as `SearchReport`.

    Attributes:
        setting: What was explored.
        states: How many different states were met.
        transitions: How many moves were made.
        depth: How many moves the longest of the shortest ways has.
        finished: Whether everything was explored.
        stopped: Why not; empty if finished.
        ends: How many ends of each kind there are.
        violations: By property, a shortest run that violates it.
        example: A shortest run that is done.
    """

    setting: BackSetting
    states: int
    transitions: int
    depth: int
    finished: bool
    stopped: str
    ends: tuple[tuple[str, int], ...]
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
class BackSearch:
    """A search that can be watched and stopped; as `Search`.

    Attributes:
        setting: What to explore.
        bound: Ways longer than this are not followed; 0: no bound.
    """

    setting: BackSetting
    bound: int = 0
    _ways: list[tuple[int, Line | None]] = field(init=False, factory=list)
    _seen: set[BackState] = field(init=False, factory=set)
    _frontier: list[tuple[int, BackState]] = field(init=False, factory=list)
    _found: dict[str, tuple[str, int, bool]] = field(init=False, factory=dict)
    _ends: Counter[str] = field(init=False, factory=Counter)
    _transitions: int = field(init=False, default=0)
    _depth: int = field(init=False, default=0)
    _example: int = field(init=False, default=0)
    _stopped: str = field(init=False, default="interrupted")
    _moves: BackMoves = field(init=False)
    _properties: tuple[BackProperty, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._moves = BackMoves(self.setting)
        self._properties = back_properties(self.setting.purpose)

    def run(self) -> Iterator[SearchProgress]:
        """Search; yields now and then.  To stop early, simply do not go on."""
        start = self.setting.start()
        self._ways.append((-1, None))
        self._seen.add(start)
        self._frontier = [(0, start)]
        while self._frontier:
            if self.bound and self._depth >= self.bound:
                self._stopped = "bound"
                return
            level, self._frontier = self._frontier, []
            for count, (place, state) in enumerate(level, start=1):
                self._expand(place, state)
                if count % _BATCH == 0:
                    yield self._progress()
            self._depth += bool(self._frontier)
            yield self._progress()
        self._stopped = ""

    def _progress(self) -> SearchProgress:
        return SearchProgress(len(self._ways), self._transitions, self._depth, len(self._frontier))

    def _expand(self, place: int, state: BackState) -> None:
        for line, after in self._moves.of(state):
            self._transitions += 1
            if after in self._seen:
                continue
            self._seen.add(after)
            self._ways.append((place, line))
            if after.phase >= ClientPhase.DONE:
                self._judge(after, len(self._ways) - 1)
            else:
                self._frontier.append((len(self._ways) - 1, after))

    def _judge(self, state: BackState, place: int) -> None:
        phase = ClientPhase(state.phase)
        self._ends["QEMU dead" if state.dead else phase.name.lower()] += 1
        done = phase is ClientPhase.DONE
        if done and not self._example:
            self._example = place
        for wanted in self._properties:
            if wanted.id not in self._found:
                why = wanted.broken(self.setting, state)
                if why:
                    self._found[wanted.id] = (why, place, done)

    def report(self) -> BackReport:
        """What is known now."""
        violations = tuple(
            BackCounterexample(wanted.id, why, self._story(place), done)
            for wanted in self._properties
            if wanted.id in self._found
            for why, place, done in [self._found[wanted.id]]
        )
        return BackReport(
            setting=self.setting,
            states=len(self._ways),
            transitions=self._transitions,
            depth=self._depth,
            finished=not self._stopped,
            stopped=self._stopped,
            ends=tuple(sorted(self._ends.items())),
            violations=violations,
            example=self._story(self._example) if self._example else (),
        )

    def _story(self, place: int) -> tuple[Line, ...]:
        lines: list[Line] = []
        while place:
            place, line = self._ways[place]
            if line is not None:
                lines.append(line)
        return tuple(reversed(lines))
