"""The gates of a group while it runs: who is where, what opens, and what the group decides.

Rules: a gate opens when every member is at it, and never otherwise.  The group is given up once, for
one reason; from then on every gate is shut, and each member undoes what it has done.  The last member to
come to a gate that decides makes that decision last.  Once all is decided nothing gives the group up any
more, and whoever stopped waiting goes on all the same.

One event loop runs all members, so nothing here is done twice at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from attrs import define, field, frozen

from planner.program.gates import Gate
from planner.run.ports import GateShut
from planner.run.stopping import go_on_regardless

__all__ = ["Gatekeeper", "GaveUp", "MemberGates"]


@frozen
class GaveUp:
    """Why a group was given up.

    Attributes:
        code: Stable identifier.
        member: Whose failure it was; empty: nobody's own.
        why: In a clause.
    """

    code: str
    member: str
    why: str


@define(eq=False)
class Gatekeeper:
    """Keeps the gates of one run of a group.

    Attributes:
        members: Their names.
        decisions: For each gate that decides something: makes that last, and says whether it does.
        stops: Those whose guest the run stops: the gate `STANDING` opens when all of these stand.
        budget_ms: How long the first guest that stands may stand until the gate `RESUME` opens, in
            milliseconds; None: as long as it takes.
        gave_up: Why the group is given up; None: it is not.
        decided: The gates whose decision is made.
    """

    members: frozenset[str]
    decisions: Mapping[Gate, Callable[[], bool]] = field(factory=dict)
    budget_ms: float | None = None
    stops: frozenset[str] = frozenset()
    gave_up: GaveUp | None = field(init=False, default=None)
    decided: set[Gate] = field(init=False, factory=set)
    _there: dict[Gate, set[str]] = field(init=False, factory=dict)
    _news: asyncio.Event = field(init=False, factory=asyncio.Event)
    _timer: asyncio.TimerHandle | None = field(init=False, default=None)

    @classmethod
    def of(
        cls,
        members: Iterable[str],
        decisions: Mapping[Gate, Callable[[], bool]],
        budget_ms: float | None = None,
        stops: Iterable[str] = (),
    ) -> Gatekeeper:
        """The gates of these members."""
        return cls(frozenset(members), decisions, budget_ms, frozenset(stops))

    def gates_of(self, member: str) -> MemberGates:
        """The gates as one member sees them."""
        return MemberGates(self, member)

    @property
    def final(self) -> bool:
        """Whether the group can be given up no more: all that it decides is decided."""
        return bool(self.decisions) and self.decided >= set(self.decisions)

    def give_up(self, code: str, member: str, why: str) -> None:
        """Give the group up, unless it is already, or has decided: every gate is shut from now on."""
        if self.gave_up is None and not self.final:
            self.gave_up = GaveUp(code, member, why)
            self._tell()

    def close(self) -> None:
        """The run has ended."""
        if self._timer is not None:
            self._timer.cancel()

    async def wait_at(self, member: str, gate: Gate) -> None:
        """A member is at a gate; see `planner.run.ports.Gates.wait_at`."""
        self._must_be_going_on()
        self._there.setdefault(gate, set()).add(member)
        if gate is Gate.PAUSED:
            self._start_clock()
            self._tell()
            return
        if self._is_complete(gate):
            self._open(gate)
        try:
            while not self._is_open(gate):
                self._must_be_going_on()
                await self._news.wait()
        except asyncio.CancelledError:
            if not self._is_open(gate):
                self.give_up("group-aborted", member, "it was cancelled")
                raise
            go_on_regardless()

    def _must_be_going_on(self) -> None:
        if self.gave_up is None:
            return
        who = f"member {self.gave_up.member!r}: " if self.gave_up.member else ""
        raise GateShut("group-aborted", f"the group is given up: {who}{self.gave_up.why}")

    def _is_complete(self, gate: Gate) -> bool:
        if gate is Gate.STANDING:
            return self._there.get(Gate.PAUSED, set()) >= self.stops
        return self._there.get(gate, set()) >= self.members

    def _is_open(self, gate: Gate) -> bool:
        if gate in self.decisions:
            return gate in self.decided
        return self.gave_up is None and self._is_complete(gate)

    def _open(self, gate: Gate) -> None:
        """Every member is there: decide what is to be decided, and let them go on."""
        if gate is Gate.RESUME:
            self.close()
        decide = self.decisions.get(gate)
        if decide is not None:
            if decide():
                self.decided.add(gate)
            else:
                self.give_up("group-undecided", "", "its record cannot be written")
        self._tell()

    def _start_clock(self) -> None:
        if self.budget_ms is not None and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self.budget_ms / 1000, self._too_long)

    def _too_long(self) -> None:
        late = sorted(self.members - self._there.get(Gate.RESUME, set()))
        who = late[0] if len(late) == 1 else ""
        words = f"{', '.join(late)} had not captured everything" if late else "the guests stood"
        self.give_up(
            "pause-budget-exceeded",
            who,
            f"{words} {self.budget_ms:g} ms after the first guest had stopped (pause-budget)",
        )

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


@frozen
class MemberGates:
    """A `planner.run.ports.Gates` of one member."""

    keeper: Gatekeeper
    member: str

    async def wait_at(self, gate: Gate) -> None:
        """See `planner.run.ports.Gates.wait_at`."""
        await self.keeper.wait_at(self.member, gate)
